'use strict';

// Lets the tests call through @grpc/grpc-js as they call through grpc-go: SendRequest messages come in on standard input,
// go through the example client, and the outcomes leave on standard output. Each frame, both ways, is a big-endian
// length of what follows it, a call's id, one byte that says what it is, and a payload.
//
//   in   0 call     big-endian milliseconds until the deadline, SendRequest
//        1 cancel   nothing
//   out  0 answer   SendResponse
//        1 error    JSON: code, message, reason (of the Failure), details (grpc-status-details-bin in base64)

const grpc = require('@grpc/grpc-js');
const { connect, failureOf } = require('./warmpool');

const client = connect(process.argv[2]);
const { Send } = client.constructor.service;
const calls = new Map();

function reply(id, kind, payload) {
  const head = Buffer.alloc(9);
  head.writeUInt32BE(5 + payload.length, 0);
  head.writeUInt32BE(id, 4);
  head.writeUInt8(kind, 8);
  process.stdout.write(Buffer.concat([head, payload]));
}

function call(id, payload) {
  const deadline = Date.now() + payload.readUInt32BE(0);
  // Decoded into the objects that a program handles, and encoded again by the client.
  const request = Send.requestDeserialize(payload.subarray(4));
  const running = client.send(request, { deadline }, (error, response) => {
    calls.delete(id);
    if (!error) {
      reply(id, 0, Send.responseSerialize(response));
      return;
    }
    const [details] = error.metadata ? error.metadata.get('grpc-status-details-bin') : [];
    const failure = failureOf(error);
    const text = {
      code: error.code === undefined ? grpc.status.UNKNOWN : error.code,
      message: error.details || error.message,
      reason: failure ? failure.reason : '',
      details: details ? details.toString('base64') : '',
    };
    reply(id, 1, Buffer.from(JSON.stringify(text)));
  });
  calls.set(id, running);
}

let rest = [];
let size = 0;

process.stdin.on('data', (chunk) => {
  rest.push(chunk);
  size += chunk.length;
  for (;;) {
    if (size < 4) return;
    if (rest[0].length < 4) rest = [Buffer.concat(rest)];
    const length = rest[0].readUInt32BE(0);
    if (size < 4 + length) return;
    const all = Buffer.concat(rest);
    const frame = all.subarray(4, 4 + length);
    rest = [all.subarray(4 + length)];
    size -= 4 + length;
    const id = frame.readUInt32BE(0);
    if (frame.readUInt8(4) === 0) call(id, frame.subarray(5));
    else if (calls.has(id)) calls.get(id).cancel();
  }
});
process.stdin.on('end', () => client.close());
