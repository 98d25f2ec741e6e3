// Builds the pages into dist/, which the server embeds. Each asset is below /assets/ and has a hash in its name.
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
    // Writes the licences of the bundled libraries. The server shows them at /licenses.
    license: { fileName: 'licenses.md' },
    // Monaco is a chunk of 3 MB. The default limit of 500 kB would warn at every build.
    chunkSizeWarningLimit: 4096,
    rollupOptions: {
      input: ['index.html', 'graphiql.html', 'wall.html'],
      // The libraries contain about a hundred "use client" directives for server frameworks. They mean nothing here.
      onwarn: (warning, warn) => warning.code !== 'MODULE_LEVEL_DIRECTIVE' && warn(warning),
    },
  },
  // `npm run dev` serves the pages itself, and takes the API from a server on its default port.
  server: {
    fs: { allow: ['..'] },
    proxy: {
      '/graphql': { target: 'http://127.0.0.1:8080', ws: true },
      '/healthz': 'http://127.0.0.1:8080',
      '/schema.graphql': 'http://127.0.0.1:8080',
    },
  },
});
