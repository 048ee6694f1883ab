'use strict';

// Many exchanges at once on one gRPC stream (HttpService.Session), at a fraction of a call's cost.
//
//   const session = new Session(connect('unix:///run/warmpool/warmpool.sock'));
//   const [a, b] = await Promise.all([
//     session.send({ upstream: 'payments', path: '/v1/balance' }),
//     session.send({ upstream: 'payments', path: '/v1/limits' }, { signal: AbortSignal.timeout(2000) }),
//   ]);
//   session.close();
//
// One session is enough for a process. Replies come in the order in which they are ready, not in that of the calls. What
// the program calls within one turn of its event loop leaves in one message.

const { EventEmitter } = require('node:events');
const grpc = require('@grpc/grpc-js');
const { failed } = require('./warmpool');

const MAX_BATCH_BYTES = 256 << 10; // of bodies in one message; a sidecar takes 5 MiB by default

// Session emits 'draining' when the sidecar is about to stop, and goes on with its successor by itself.
class Session extends EventEmitter {
  // client is what connect returns. maxInFlight bounds the calls that are with the sidecar, which by default takes 1024;
  // maxWaiting bounds those that wait here.
  constructor(client, { maxInFlight = 1024, maxWaiting = 4096 } = {}) {
    super();
    this.client = client;
    this.maxInFlight = maxInFlight;
    this.maxWaiting = maxWaiting;
    this.waiting = new Set(); // calls that were not sent, in order
    this.lane = null; // the stream that takes calls; older ones only finish theirs
    this.flushing = false;
    this.closed = false;
    this.lastId = 0;
  }

  // send carries one HttpRequest and resolves to its HttpResponse, whatever the status. It rejects with an error that has
  // `failure`: the sidecar's Failure, or one of the same shape when the sidecar was lost. signal cancels the call, which
  // is then still answered: with REASON_CANCELLED, or with what was on its way.
  send(request, { signal } = {}) {
    return new Promise((resolve, reject) => {
      const call = { request, resolve, reject, id: 0, lane: null, again: false, abort: null };
      if (this.closed) return this.refuse(call, grpc.status.UNAVAILABLE, 'the session is closed', 'REASON_UNSPECIFIED');
      if (signal && signal.aborted) return this.refuse(call, grpc.status.CANCELLED, 'the caller cancelled', 'REASON_CANCELLED');
      if (this.waiting.size >= this.maxWaiting) {
        return this.refuse(call, grpc.status.RESOURCE_EXHAUSTED, `${this.maxWaiting} calls wait already`, 'REASON_QUEUE_FULL');
      }
      if (signal) {
        const abort = () => this.cancel(call);
        signal.addEventListener('abort', abort, { once: true });
        call.abort = () => signal.removeEventListener('abort', abort);
      }
      this.waiting.add(call);
      this.flushSoon();
    });
  }

  // close lets the calls that are with the sidecar finish and takes no new ones.
  close() {
    this.closed = true;
    for (const call of this.waiting) this.refuse(call, grpc.status.UNAVAILABLE, 'the session was closed', 'REASON_UNSPECIFIED');
    if (this.lane) this.retire(this.lane);
  }

  refuse(call, code, message, reason) {
    this.finish(call, null, failed(code, message, { code, message, reason, delivery: 'DELIVERY_NOT_SENT', attempts: 0 }));
  }

  finish(call, response, error) {
    this.waiting.delete(call);
    if (call.lane) call.lane.calls.delete(call.id);
    if (call.abort) call.abort();
    call.lane = null;
    if (error) call.reject(error);
    else call.resolve(response);
  }

  cancel(call) {
    if (!call.lane) return this.refuse(call, grpc.status.CANCELLED, 'the caller cancelled', 'REASON_CANCELLED');
    call.lane.cancels.push(call.id);
    return this.write(call.lane);
  }

  // flushSoon sends what waits when the program's turn is over, so that all of the turn leaves together.
  flushSoon() {
    if (this.flushing) return;
    this.flushing = true;
    setImmediate(() => {
      this.flushing = false;
      if (this.waiting.size === 0) return;
      if (!this.lane) this.lane = this.open();
      this.write(this.lane);
    });
  }

  // write sends messages while the stream takes them. A stream that does not is asked again when it has room.
  write(lane) {
    while (!lane.full && !lane.over) {
      const calls = lane.cancels.splice(0).map((id) => ({ id, cancel: {} }));
      let bytes = 0;
      for (const call of lane === this.lane ? this.waiting : []) {
        const size = call.request.body ? call.request.body.length : 0;
        if (lane.calls.size >= this.maxInFlight || (bytes > 0 && bytes + size > MAX_BATCH_BYTES)) break;
        bytes += size;
        this.waiting.delete(call);
        this.lastId += 1;
        call.id = String(this.lastId); // as ids come back: 64 bits do not fit into a number
        call.lane = lane;
        lane.calls.set(call.id, call);
        calls.push({ id: call.id, request: call.request });
      }
      if (calls.length === 0) return;
      lane.full = !lane.stream.write({ calls });
    }
  }

  open() {
    // A sidecar that restarts is waited for; a call's signal ends the wait.
    const metadata = new grpc.Metadata({ waitForReady: true });
    const lane = { stream: this.client.session(metadata), calls: new Map(), cancels: [], full: false, over: false, draining: false };
    lane.stream.on('drain', () => {
      lane.full = false;
      this.write(lane);
    });
    lane.stream.on('data', (message) => this.receive(lane, message));
    lane.stream.on('error', (error) => this.lost(lane, error));
    lane.stream.on('end', () => this.lost(lane, failed(grpc.status.UNAVAILABLE, 'the sidecar ended the session')));
    return lane;
  }

  receive(lane, message) {
    if (message.draining && !lane.draining) {
      this.retire(lane); // before the replies: they may be refusals for that very reason
      this.emit('draining');
    }
    for (const reply of message.replies || []) {
      const call = lane.calls.get(reply.id);
      if (!call) continue; // such as the answer to a cancel that came too late
      if (reply.outcome === 'response') {
        this.finish(call, reply.response, null);
      } else if (refusedByDrain(reply.failure) && !this.closed && (lane.draining || !call.again)) {
        this.sendAgain(call); // once where it may be the upstream that drains, which says the same
      } else {
        this.finish(call, null, failed(reply.failure.code, reply.failure.message, reply.failure));
      }
    }
    if (lane.draining && lane.calls.size === 0) lane.stream.end();
    else if (this.waiting.size > 0) this.flushSoon();
  }

  sendAgain(call) {
    call.lane.calls.delete(call.id);
    call.lane = null;
    call.again = true;
    this.waiting.add(call);
    this.flushSoon();
  }

  // retire lets a stream finish its calls while new ones go to the next one.
  retire(lane) {
    lane.draining = true;
    if (this.lane === lane) this.lane = null;
    if (lane.calls.size === 0) lane.stream.end();
    if (this.waiting.size > 0) this.flushSoon();
  }

  // lost ends the calls of a stream that is over. What became of them is not known.
  lost(lane, error) {
    if (lane.over) return;
    lane.over = true;
    this.retire(lane);
    for (const call of [...lane.calls.values()]) {
      if (refusedByDrain(error.failure) && !this.closed) {
        this.sendAgain(call); // the session was refused as a whole
        continue;
      }
      const message = `the sidecar was lost: ${error.details || error.message}`;
      const failure = { code: error.code, message, reason: 'REASON_UNSPECIFIED', delivery: 'DELIVERY_UNKNOWN', attempts: 0 };
      this.finish(call, null, failed(error.code, message, failure));
    }
  }
}

function refusedByDrain(failure) {
  return Boolean(failure) && failure.reason === 'REASON_DRAINING' && failure.delivery === 'DELIVERY_NOT_SENT';
}

module.exports = { Session };
