// An HTTP server with Node's default settings. Called with "mute" it does not tell for how long connections may idle, and
// does not leave them a second more than that, as later versions of Node do.
'use strict';

const http = require('node:http');

const [port, mute] = process.argv.slice(2);
const server = http.createServer((request, response) => {
  request.resume();
  request.on('end', () => {
    if (mute) response.setHeader('Connection', 'keep-alive'); // Node adds Keep-Alive only to a Connection of its own
    response.end('ok');
  });
});
if (mute) server.keepAliveTimeoutBuffer = 0;
server.listen(Number(port), '127.0.0.1');
process.on('SIGTERM', () => process.exit(0));
