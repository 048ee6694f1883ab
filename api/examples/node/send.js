'use strict';

// Sends one request through warmpool and prints the response:
//
//   npm ci
//   node send.js unix:///run/warmpool/warmpool.sock payments /v1/balance
//   node send.js 127.0.0.1:7600 payments /v1/transfers POST '{"amount": 12}'
//
// Exit codes: 0 the upstream answered, whatever its status; 1 it did not, and standard error says why; 2 wrong usage.

const { connect, send, headerValue } = require('./warmpool');

async function main([target, upstream, path, method, body]) {
  if (!path) {
    console.error('usage: node send.js TARGET UPSTREAM PATH [METHOD [BODY]]');
    return 2;
  }
  const client = connect(target);
  try {
    const response = await send(client, {
      upstream,
      path,
      method: method || 'GET',
      headers: body ? [{ name: 'Content-Type', value: 'application/json' }] : [],
      body: Buffer.from(body || ''),
      options: { receipt: true },
    });
    console.log(`HTTP ${response.status}`);
    for (const header of response.headers || []) console.log(`${header.name}: ${headerValue(header)}`);
    console.log();
    process.stdout.write(response.body || '');
    const { connection_id: id, reused, attempts } = response.receipt;
    console.error(`connection ${id} (${reused ? 'reused' : 'new'}), ${attempts} attempt(s)`);
    return 0;
  } catch (error) {
    console.error(error.details || error.message);
    if (error.failure) {
      const { reason, delivery, attempts } = error.failure;
      // NOT_SENT and NOT_RECEIVED: safe to send again, whatever the method. UNKNOWN: only when it is idempotent.
      console.error(`${reason}, ${delivery}, ${attempts || 0} attempt(s)`);
    }
    return 1;
  } finally {
    client.close();
  }
}

main(process.argv.slice(2)).then((code) => {
  process.exitCode = code;
});
