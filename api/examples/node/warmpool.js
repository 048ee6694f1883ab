'use strict';

// A client of the warmpool sidecar for Node. Copy this file and http.proto (proto/warmpool/v1/http.proto of the
// repository); everything else comes from npm.

const fs = require('node:fs');
const path = require('node:path');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

// The folder that holds warmpool/v1/http.proto.
const PROTO_ROOT = process.env.PROTO_ROOT || path.join(__dirname, '..', '..', '..', 'proto');

// Names stay as they are in the proto, enums are their names, 64-bit numbers are strings.
const OPTIONS = { keepCase: true, enums: String, longs: String, oneofs: true, includeDirs: [PROTO_ROOT] };

if (!fs.existsSync(path.join(PROTO_ROOT, 'warmpool', 'v1', 'http.proto'))) {
  throw new Error(`there is no warmpool/v1/http.proto in ${PROTO_ROOT}: set PROTO_ROOT to the folder that holds it`);
}
const definitions = loader.loadSync('warmpool/v1/http.proto', OPTIONS);
const { HttpService } = grpc.loadPackageDefinition(definitions).warmpool.v1;

// google.rpc.Status, as it comes with a failed call: the Failure is one of its details.
const { Status } = loader.fromJSON(
  {
    nested: {
      Status: {
        fields: {
          code: { type: 'int32', id: 1 },
          message: { type: 'string', id: 2 },
          details: { rule: 'repeated', type: 'Detail', id: 3 },
        },
      },
      Detail: { fields: { type_url: { type: 'string', id: 1 }, value: { type: 'bytes', id: 2 } } },
    },
  },
  OPTIONS,
);

const FAILURE_URL = 'type.googleapis.com/warmpool.v1.Failure';

// connect returns a client. target is 'unix:///run/warmpool/warmpool.sock' or 'host:port'. Make one for the process and
// keep it: its one connection carries any number of calls at once.
function connect(target) {
  return new HttpService(target, grpc.credentials.createInsecure(), {
    // The sidecar bounds bodies (limits.buffered_body_bytes, 4 MiB by default). grpc-js by default refuses messages above
    // 4 MiB, which a body of that size and its headers are.
    'grpc.max_receive_message_length': -1,
    'grpc.max_send_message_length': -1,
  });
}

// send carries one HttpRequest and resolves to its HttpResponse, whatever the status. It rejects with the gRPC error,
// which then has `failure`: the sidecar's Failure, or null when the call did not reach the sidecar.
function send(client, request, { deadline = Date.now() + 30_000 } = {}) {
  return new Promise((resolve, reject) => {
    client.send({ request }, { deadline }, (error, reply) => {
      if (error) reject(withFailure(error));
      else resolve(reply.response);
    });
  });
}

// failureOf finds the sidecar's Failure in the details of a gRPC error, null when there is none.
function failureOf(error) {
  const [bytes] = error.metadata ? error.metadata.get('grpc-status-details-bin') : [];
  if (!bytes) return null;
  const detail = (Status.deserialize(bytes).details || []).find((d) => d.type_url === FAILURE_URL);
  return detail ? definitions['warmpool.v1.Failure'].deserialize(detail.value) : null;
}

// withFailure gives a gRPC error its `failure`: the sidecar's Failure, or null.
function withFailure(error) {
  if (error.failure === undefined) error.failure = failureOf(error);
  return error;
}

// failed is an error like gRPC's, with a Failure.
function failed(code, message, failure = null) {
  return Object.assign(new Error(message), { code, details: message, failure });
}

// headerValue is a Header's value as text. A value that is not UTF-8 comes as bytes and is read as Latin-1.
function headerValue(header) {
  return header.raw_value && header.raw_value.length > 0 ? header.raw_value.toString('latin1') : header.value || '';
}

module.exports = { connect, send, failureOf, withFailure, failed, headerValue };
