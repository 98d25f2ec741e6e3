// Builds the pages into dist/, which the server embeds: every address starts at /assets/ and carries a hash.
import { defineConfig } from 'vite';
import { precompress } from './precompress';

export default defineConfig({
  base: '/',
  plugins: [precompress()],
  worker: { format: 'es' },
  build: {
    outDir: 'dist',
    assetsDir: 'assets',
    emptyOutDir: true,
    target: 'es2023',
    // The licences of what is bundled travel with the bundle; the server shows them at /licenses.
    license: { fileName: 'licenses.md' },
    // Monaco is one editor of 3 MB by nature; the default warning at 500 kB says nothing new.
    chunkSizeWarningLimit: 4096,
    rollupOptions: {
      input: ['index.html', 'graphiql.html', 'wall.html'],
      // "use client" speaks to server frameworks; there are some hundred of them in the libraries and no server here.
      onwarn: (warning, warn) => warning.code !== 'MODULE_LEVEL_DIRECTIVE' && warn(warning),
    },
  },
  // `npm run dev` serves the pages from here and the API from a server started with its defaults.
  server: {
    fs: { allow: ['..'] },
    proxy: {
      '/graphql': { target: 'http://127.0.0.1:8080', ws: true },
      '/healthz': 'http://127.0.0.1:8080',
      '/schema.graphql': 'http://127.0.0.1:8080',
    },
  },
});
