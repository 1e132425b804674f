// The picture that holds the tiles of a tree.
import type { Sheet } from "./schema";
import { fileUrl } from "./server";

export interface SheetLoader {
  picture: HTMLImageElement | null;
  missing: boolean;
  load(sheet: Sheet | null): void;
}

/** Keeps the sheet at hand that was asked for last; the one before stays until it is there. */
export function sheetLoader(changed: () => void): SheetLoader {
  let wanted = "";
  const loader: SheetLoader = {
    picture: null,
    missing: false,
    load(sheet) {
      const url = sheet ? fileUrl(sheet.picture, sheet.version) : "";
      if (url === wanted && !loader.missing) return; // what was missing may be back
      wanted = url;
      if (!url) {
        loader.picture = null;
        loader.missing = false;
        changed();
        return;
      }
      const picture = new Image();
      const done = (there: boolean) => {
        if (url !== wanted) return;
        loader.picture = there ? picture : null;
        loader.missing = !there;
        changed();
      };
      picture.src = url;
      picture.decode().then(
        () => done(true),
        () => done(false),
      );
    },
  };
  return loader;
}
