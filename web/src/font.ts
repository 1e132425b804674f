// What canvases write in.
export function font(size: number, bold = false): string {
  return `${bold ? "600 " : ""}${size}px Inter, system-ui, sans-serif`;
}
