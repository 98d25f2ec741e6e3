// Writes a gzip copy beside each large built text file. The server sends the copy to browsers that accept gzip.
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { constants, gzipSync } from 'node:zlib';
import type { Plugin } from 'vite';

const TEXTS = /\.(js|css|html|svg|md|ttf)$/;
/** A smaller text fits into one packet without compression. */
const SMALLEST_BYTES = 1_400;

export function precompress(): Plugin {
  let folder = '';
  return {
    name: 'precompress',
    apply: 'build',
    configResolved: (config) => {
      folder = join(config.root, config.build.outDir);
    },
    closeBundle: async () => {
      for (const file of await readdir(folder, { recursive: true })) {
        if (!TEXTS.test(file)) continue;
        const plain = await readFile(join(folder, file));
        if (plain.length < SMALLEST_BYTES) continue;
        await writeFile(join(folder, `${file}.gz`), gzipSync(plain, { level: constants.Z_BEST_COMPRESSION }));
      }
    },
  };
}
