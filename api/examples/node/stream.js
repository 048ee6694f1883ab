'use strict';

// One exchange with bodies of any length (HttpService.Stream). Neither is held in memory: a reader that is slow slows the
// upstream down, and an upstream that is slow slows the request's body down.
//
//   const { pipeline } = require('node:stream/promises');
//   const response = await stream(connect(target), { upstream: 'media', method: 'PUT', path: '/video' }, fs.createReadStream('video'));
//   await pipeline(response.body, fs.createWriteStream('answer'));
//   console.log(response.status, response.trailers);

const { Readable } = require('node:stream');
const { failed, withFailure } = require('./warmpool');

const BLOCK = 64 << 10; // bytes of a body in one message

// stream sends an HttpRequest, with a body that is anything to iterate over (a Readable, an async generator of buffers or
// strings), or none. It resolves when the response's head is there, to
//
//   status, headers     of the final response
//   body                a Readable; read it to its end, or destroy it
//   trailers, receipt   set when the body has ended
//
// It rejects with the gRPC error, which then has `failure`, as does the body's error. signal ends the exchange at any
// point, as does destroying the body. trailers() is asked for the request's trailers at the end of its body, onInterim is
// called with each interim response, deadline is for the whole exchange.
async function stream(client, request, body, { signal, deadline, trailers, onInterim } = {}) {
  if (signal && signal.aborted) throw signal.reason;
  const call = client.stream({ deadline });
  const abort = () => call.cancel();
  if (signal) signal.addEventListener('abort', abort, { once: true });

  let uploading = null; // why the request's body failed
  call.write({ head: request, end: !body });
  if (body) {
    upload(call, body, trailers).catch((error) => {
      uploading = error;
      call.cancel();
    });
  } else {
    call.end();
  }

  const parts = call[Symbol.asyncIterator]();
  const response = { status: 0, headers: [], body: null, trailers: [], receipt: null };
  // next is the next part; it reads no further than that, which is what holds the upstream back.
  const next = async () => {
    try {
      const { value, done } = await parts.next();
      if (done) throw failed(undefined, 'the stream ended before the response was complete');
      return value;
    } catch (error) {
      if (signal) signal.removeEventListener('abort', abort);
      throw uploading || withFailure(error);
    }
  };
  const content = async function* content() {
    try {
      for (;;) {
        const part = await next();
        if (part.part === 'end') {
          response.trailers = part.end.trailers || [];
          response.receipt = part.end.receipt;
          return;
        }
        yield part.data;
      }
    } finally {
      if (signal) signal.removeEventListener('abort', abort);
      call.cancel(); // of no effect when it is over
    }
  };

  for (;;) {
    const part = await next();
    if (part.part === 'head') {
      response.status = part.head.status;
      response.headers = part.head.headers || [];
      response.body = Readable.from(content(), { objectMode: false, highWaterMark: BLOCK });
      return response;
    }
    if (onInterim) onInterim(part.interim);
  }
}

// upload sends a body block by block, no faster than the sidecar takes it.
async function upload(call, body, trailers) {
  for await (const piece of body) {
    const bytes = Buffer.from(piece);
    for (let at = 0; at < bytes.length; at += BLOCK) {
      if (call.destroyed || call.writableEnded) return; // an early response ended the exchange
      if (!call.write({ data: bytes.subarray(at, at + BLOCK) })) await room(call);
    }
  }
  if (call.destroyed || call.writableEnded) return;
  const fields = trailers ? trailers() : [];
  call.write(fields.length > 0 ? { trailers: { trailers: fields }, end: true } : { end: true });
  call.end();
}

// room waits until the stream takes more, or is over.
function room(call) {
  return new Promise((resolve) => {
    const go = () => {
      call.off('drain', go);
      call.off('close', go);
      resolve();
    };
    call.on('drain', go);
    call.on('close', go);
  });
}

module.exports = { stream };
