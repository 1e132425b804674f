// Makes elements. Text only ever goes in as text.

type Children = (Node | string | null)[];

export function element<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  settings: Record<string, unknown> = {},
  ...children: Children
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(settings)) {
    if (name in made) (made as unknown as Record<string, unknown>)[name] = value;
    else if (value !== null && value !== false) made.setAttribute(name, value === true ? "" : String(value));
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

/** A button whose whole face is a sign; the label is what it says to those who cannot see it. */
export function iconButton(sign: string, label: string, onclick: () => void): HTMLButtonElement {
  return element("button", { type: "button", className: "icon", title: label, "aria-label": label, onclick }, sign);
}
