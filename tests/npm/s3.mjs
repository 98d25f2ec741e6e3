// Serves an S3 bucket for a test until it is killed. Prints its port.
//
//   node s3.mjs FOLDER BUCKET
import S3rver from 's3rver';

const [directory, name] = process.argv.slice(2);
const server = new S3rver({ port: 0, address: '127.0.0.1', silent: true, directory, configureBuckets: [{ name }] });
const { port } = await server.run();
console.log(port);
