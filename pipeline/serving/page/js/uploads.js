/** Photos of the user's: read, made smaller where they are large, and kept while the page is open. */

import { Problem } from "./api.js";

const LARGE = 4 * 1024 * 1024;
const SIDE = 2048;

export class Uploads {
  constructor() {
    this.photos = new Map();
  }

  /** Keeps a file; returns its key, which no other page knows. */
  async add(file) {
    if (file.size === 0) throw new Problem(0, "upload", "The file is empty.");
    if (file.type && !file.type.startsWith("image/")) throw new Problem(0, "upload", "The file is not a photo.");
    const blob = file.size > LARGE ? await shrunk(file) : file;
    const key = [...crypto.getRandomValues(new Uint8Array(8))]
      .map((byte) => byte.toString(16).padStart(2, "0"))
      .join("");
    this.photos.set(key, {
      name: file.name || "pasted photo",
      base64: await base64Of(blob),
      preview: URL.createObjectURL(blob),
    });
    return key;
  }

  /** {name, base64, preview}, or undefined: the page has been loaded again, or the link comes from elsewhere. */
  get(key) {
    return this.photos.get(key);
  }
}

/** A JPEG of at most `SIDE` pixels, upright; the file itself if the browser cannot decode it (the server may). */
async function shrunk(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    return file;
  }
  const scale = Math.min(1, SIDE / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return (await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.92))) ?? file;
}

async function base64Of(blob) {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  const parts = [];
  // String.fromCharCode takes its letters as arguments, of which there may be some 60,000.
  for (let start = 0; start < bytes.length; start += 0x8000) {
    parts.push(String.fromCharCode(...bytes.subarray(start, start + 0x8000)));
  }
  return btoa(parts.join(""));
}
