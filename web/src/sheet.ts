// The picture that holds the tiles of a tree.
import type { Sheet } from "./schema";
import { fileUrl } from "./server";

export interface SheetLoader {
  picture: ImageBitmap | null;
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
      if (url === wanted) return;
      wanted = url;
      loader.missing = false;
      if (!url) {
        loader.picture = null;
        return;
      }
      void decoded(url).then((picture) => {
        if (url !== wanted) return;
        loader.picture = picture;
        loader.missing = picture === null;
        changed();
      });
    },
  };
  return loader;
}

/** As pixels, since a browser may decode a large file anew for every tile that it draws. */
async function decoded(url: string): Promise<ImageBitmap | null> {
  const image = new Image();
  image.src = url;
  return image.decode().then(
    () => createImageBitmap(image),
    () => null,
  );
}
