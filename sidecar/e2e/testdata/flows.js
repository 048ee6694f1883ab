'use strict';

// Drives the example's Session and Stream against a sidecar, and says what was kept of their promises:
//
//   node flows.js TARGET SCENARIO
//
// The upstream is named app; what it serves stands in flows_test.go.

const assert = require('node:assert/strict');
const { setTimeout: sleep } = require('node:timers/promises');
const { connect, send, headerValue } = require('./warmpool');
const { Session } = require('./session');
const { stream } = require('./stream');

const client = connect(process.argv[2]);
const MEGABYTE = 1 << 20;
const TOTAL = 256 * MEGABYTE;
const HELD = 64 * MEGABYTE; // more than all buffers on the way hold, and less than the whole

const text = (response) => (response.body || '').toString();
const get = (path) => ({ upstream: 'app', path });

async function read(body) {
  const pieces = [];
  for await (const piece of body) pieces.push(piece);
  return Buffer.concat(pieces).toString();
}

// number asks the upstream for a figure.
async function number(path) {
  return Number(text(await send(client, get(path))));
}

// settled waits until a figure stays as it is.
async function settled(figure) {
  for (let before = -1, now = await figure(); ; before = now, now = await figure()) {
    if (now === before) return now;
    await sleep(200);
  }
}

const scenarios = {
  async send() {
    const response = await send(client, { upstream: 'app', method: 'POST', path: '/echo', body: Buffer.from('text') });
    assert.equal(response.status, 200);
    assert.equal(text(response), 'text');
    await assert.rejects(send(client, { upstream: 'none' }), (e) => e.failure.reason === 'REASON_UNKNOWN_UPSTREAM');
  },

  async 'session: many calls at once'() {
    const session = new Session(client, { maxInFlight: 32 });
    const calls = [];
    for (let i = 0; i < 500; i += 1) {
      const body = Buffer.from(`${i} `.repeat(i));
      calls.push(session.send({ upstream: 'app', method: 'POST', path: '/echo', body }).then((r) => assert.equal(text(r), body.toString())));
    }
    await Promise.all(calls);
    session.close();
    await assert.rejects(session.send(get('/echo')), (e) => e.failure.delivery === 'DELIVERY_NOT_SENT');
  },

  async 'session: replies out of order'() {
    const session = new Session(client);
    const order = [];
    const slow = session.send(get('/hold')).then(() => order.push('slow'));
    await session.send(get('/echo')).then(() => order.push('quick'));
    await session.send(get('/release'));
    await slow;
    assert.deepEqual(order, ['quick', 'slow']);
    session.close();
  },

  async 'session: failures stay apart'() {
    const session = new Session(client);
    const [wrong, right] = await Promise.allSettled([session.send({ upstream: 'none' }), session.send(get('/echo'))]);
    assert.equal(wrong.reason.failure.reason, 'REASON_UNKNOWN_UPSTREAM');
    assert.equal(wrong.reason.failure.delivery, 'DELIVERY_NOT_SENT');
    assert.equal(right.value.status, 200);
    session.close();
  },

  async 'session: cancel'() {
    const session = new Session(client);
    const stop = new AbortController();
    const held = session.send(get('/hold'), { signal: stop.signal });
    while ((await number('/holding')) === 0) await sleep(1);
    stop.abort();
    await assert.rejects(held, (e) => e.failure.reason === 'REASON_CANCELLED' && e.failure.delivery === 'DELIVERY_UNKNOWN');
    await assert.rejects(session.send(get('/echo'), { signal: stop.signal }), (e) => e.failure.delivery === 'DELIVERY_NOT_SENT');
    assert.equal((await session.send(get('/echo'))).status, 200);
    session.close();
  },

  async 'session: bounds'() {
    const session = new Session(client, { maxInFlight: 1, maxWaiting: 1 });
    const held = session.send(get('/hold'));
    while ((await number('/holding')) === 0) await sleep(1);
    const waiting = session.send(get('/echo'));
    await assert.rejects(session.send(get('/echo')), (e) => e.failure.reason === 'REASON_QUEUE_FULL');
    await send(client, get('/release'));
    assert.equal((await held).status, 200);
    assert.equal((await waiting).status, 200);
    session.close();
  },

  // The test restarts the sidecar once the held call has arrived.
  async draining() {
    const session = new Session(client);
    const draining = new Promise((resolve) => session.once('draining', resolve));
    const order = [];
    const held = session.send(get('/hold')).then((r) => order.push(`held ${r.status}`));
    await draining;
    await session.send(get('/echo')).then((r) => order.push(`new ${r.status}`));
    await session.send(get('/release'));
    await held;
    assert.deepEqual(order, ['new 200', 'held 200']);
    session.close();
  },

  // The test kills the sidecar once the held call has arrived, and starts another one.
  async lost() {
    const session = new Session(client);
    await assert.rejects(session.send(get('/hold')), (e) => e.failure.delivery === 'DELIVERY_UNKNOWN');
    assert.equal((await session.send(get('/echo'))).status, 200);
    session.close();
  },

  async 'stream: bodies, trailers and interim responses'() {
    const interim = [];
    const response = await stream(
      client,
      { upstream: 'app', method: 'POST', path: '/trailers', headers: [{ name: 'Trailer', value: 'X-Sum' }] },
      (async function* body() {
        yield 'one ';
        yield 'two';
      })(),
      { trailers: () => [{ name: 'X-Sum', value: '7' }], onInterim: (i) => interim.push(i.status) },
    );
    assert.equal(response.status, 200);
    assert.equal(await read(response.body), 'one two');
    assert.deepEqual(response.trailers.map((f) => `${f.name}: ${headerValue(f)}`), ['X-Got: 7']);
    assert.deepEqual(interim, [103]);
    const none = await stream(client, { ...get('/echo'), options: { receipt: true } });
    assert.equal(await read(none.body), '');
    assert.equal(none.receipt.attempts, 1);
  },

  async 'stream: a slow reader holds the upstream back'() {
    const response = await stream(client, get(`/bytes?n=${TOTAL}`));
    let got = 0;
    for await (const piece of response.body) {
      if (got === 0) assert.ok((await settled(() => number('/written'))) < HELD);
      got += piece.length;
    }
    assert.equal(got, TOTAL);
  },

  async 'stream: a slow upstream holds the request back'() {
    let given = 0;
    const block = Buffer.alloc(64 << 10);
    const body = async function* body() {
      for (; given < TOTAL; given += block.length) yield block;
    };
    const response = stream(client, { upstream: 'app', method: 'POST', path: '/late' }, body());
    assert.ok((await settled(() => given)) < HELD);
    await send(client, get('/release'));
    assert.equal(await read((await response).body), String(TOTAL));
  },

  async 'stream: an end at any point'() {
    const response = await stream(client, get(`/bytes?n=${TOTAL}`));
    for await (const piece of response.body) {
      assert.ok(piece.length > 0);
      break; // destroys the body
    }
    const stop = new AbortController();
    const held = stream(client, get('/hold'), undefined, { signal: stop.signal });
    while ((await number('/holding')) === 0) await sleep(1);
    stop.abort();
    await assert.rejects(held, (e) => e.code === 1);
    const why = new Error('the disk is gone');
    const failing = (async function* failing() {
      yield 'text';
      throw why;
    })();
    await assert.rejects(stream(client, { upstream: 'app', method: 'POST', path: '/echo' }, failing), why);
    await assert.rejects(stream(client, { upstream: 'none' }), (e) => e.failure.reason === 'REASON_UNKNOWN_UPSTREAM');
    assert.equal(text(await send(client, { upstream: 'app', method: 'POST', path: '/echo', body: Buffer.from('still there') })), 'still there');
  },
};

scenarios[process.argv[3]]().then(
  () => {
    client.close();
    console.log('kept');
  },
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
