// gRPC's JavaScript library as a client of Falaj:
//   node grpc_js_client.mjs HOST:PORT FOLDER_OF_NODE_MODULES FOLDER_OF_PROTOCOLS...
// does each check below and says how it went, a line each. The server has the models of tests/peers/conftest.py.
// The last check says "draining" and waits for a line on its input, which is to come when the server was told to
// end and the model `gated` was opened. Exits with 1 where a check failed.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import path from 'node:path';
import readline from 'node:readline';

const [address, modules, ...protocols] = process.argv.slice(2);
const require = createRequire(path.join(modules, 'here.js'));
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const definition = loader.loadSync(['service.proto', 'health.proto'], {
  includeDirs: protocols,
  keepCase: true,
  longs: Number,
  enums: String,
  defaults: true,
});
const { inference, grpc: { health } } = grpc.loadPackageDefinition(definition);

const OPTIONS = { 'grpc.max_receive_message_length': -1, 'grpc.use_local_subchannel_pool': 1 };

// A client on a connection of its own, until `use` is done.
async function withClient(use, options = {}, Service = inference.GRPCInferenceService) {
  const client = new Service(address, grpc.credentials.createInsecure(), { ...OPTIONS, ...options });
  try {
    return await use(client);
  } finally {
    client.close();
  }
}

function deadline(ms = 30_000) {
  return { deadline: Date.now() + ms };
}

// One unary call; returns its answer.
function ask(client, method, message, options = deadline(), metadata = new grpc.Metadata()) {
  return new Promise((resolve, reject) => {
    client[method](message, metadata, options, (error, answer) => (error ? reject(error) : resolve(answer)));
  });
}

function valuesOf(rows) {
  return Float32Array.from({ length: rows }, (_, i) => i);
}

function request(model, shape) {
  const count = shape.reduce((a, b) => a * b, 1);
  const raw = Buffer.from(valuesOf(count).buffer);
  return {
    model_name: model,
    id: `r${count}`,
    inputs: [{ name: 'x', datatype: 'FP32', shape }],
    raw_input_contents: [raw],
  };
}

function typedRequest(model, rows) {
  const asked = request(model, [rows, 1]);
  asked.raw_input_contents = [];
  asked.inputs[0].contents = { fp32_contents: Array.from(valuesOf(rows)) };
  return asked;
}

function assertEcho(answer, count) {
  assert.equal(answer.id, `r${count}`);
  assert.deepEqual(answer.outputs.map((output) => [output.name, output.datatype]), [['y', 'FP32']]);
  assert.equal(answer.raw_output_contents.length, 1);
  assert.ok(answer.raw_output_contents[0].equals(Buffer.from(valuesOf(count).buffer)), 'other values came back');
}

async function assertFails(asking, code, text = '') {
  const error = await asking.then(() => assert.fail('the call succeeded'), (caught) => caught);
  assert.equal(error.code, code, String(error));
  assert.ok(error.details.includes(text), error.details);
  return error;
}

async function inferOnce(client, rows = 1, options = deadline()) {
  assertEcho(await ask(client, 'ModelInfer', request('echo', [rows, 1]), options), rows);
}

// A bidirectional call: `send` writes, `received` gives the answers one by one, `ended` the status.
function openStream(client, options = deadline()) {
  const stream = client.ModelStreamInfer(new grpc.Metadata(), options);
  const ended = new Promise((resolve) => stream.on('status', resolve));
  stream.on('error', () => {}); // it is in the status
  const answers = stream[Symbol.asyncIterator]();
  return { stream, ended, received: async () => (await answers.next()).value };
}

async function unary() {
  await withClient(async (client) => {
    await inferOnce(client, 3);
    assertEcho(await ask(client, 'ModelInfer', typedRequest('echo', 5)), 5);
  });
}

async function control() {
  await withClient(async (client) => {
    assert.equal((await ask(client, 'ServerReady', {})).ready, true);
    assert.equal((await ask(client, 'ModelReady', { name: 'echo' })).ready, true);
  });
}

async function large() {
  const rows = 2048;
  await withClient(async (client) => {
    assertEcho(await ask(client, 'ModelInfer', request('wide', [rows, 1024])), rows * 1024); // 8 MiB
  });
}

async function errors() {
  await withClient(async (client) => {
    const unknown = ask(client, 'ModelInfer', request('nowhere', [1, 1]));
    const error = await assertFails(unknown, grpc.status.NOT_FOUND, 'nowhere');
    assert.ok(error.metadata.get('grpc-status-details-bin').length > 0, 'there are no details');
    const bad = request('echo', [2, 1]);
    bad.inputs[0].shape = [3, 1];
    await assertFails(ask(client, 'ModelInfer', bad), grpc.status.INVALID_ARGUMENT, "'x'");
  });
}

async function late() {
  await withClient(async (client) => {
    const asking = ask(client, 'ModelInfer', request('gated', [1, 1]), deadline(200));
    await assertFails(asking, grpc.status.DEADLINE_EXCEEDED);
    await inferOnce(client);
  });
}

async function cancel() {
  await withClient(async (client) => {
    for (let i = 0; i < 20; ++i) {
      let call;
      const asking = new Promise((resolve, reject) => {
        const done = (error) => (error ? reject(error) : resolve());
        call = client.ModelInfer(request('gated', [1, 1]), new grpc.Metadata(), deadline(), done);
      });
      await inferOnce(client); // by now the other is on its way
      call.cancel();
      await assertFails(asking, grpc.status.CANCELLED);
    }
  });
}

async function many() {
  await withClient(async (client) => {
    await Promise.all(Array.from({ length: 1000 }, (_, i) => inferOnce(client, 1 + (i % 7))));
  });
}

async function stream() {
  await withClient(async (client) => {
    const { stream, ended, received } = openStream(client);
    for (let rows = 1; rows <= 50; ++rows) {
      stream.write(request('echo', [rows, 1]));
      assertEcho((await received()).infer_response, rows);
    }
    stream.write(request('nowhere', [1, 1]));
    assert.notEqual((await received()).error_message, '');
    for (let i = 0; i < 200; ++i) stream.write(typedRequest('echo', 4));
    stream.end();
    for (let i = 0; i < 200; ++i) assertEcho((await received()).infer_response, 4);
    assert.equal(await received(), undefined, 'there is one answer too many');
    assert.equal((await ended).code, grpc.status.OK);
  });
}

async function streamCancel() {
  await withClient(async (client) => {
    const { stream, ended, received } = openStream(client);
    stream.write(request('echo', [1, 1]));
    assertEcho((await received()).infer_response, 1);
    stream.write(request('gated', [1, 1]));
    stream.cancel();
    assert.equal((await ended).code, grpc.status.CANCELLED);
    await inferOnce(client);
  });
}

async function healthy() {
  await withClient(async (client) => {
    for (const service of ['', 'inference.GRPCInferenceService']) {
      assert.equal((await ask(client, 'Check', { service })).status, 'SERVING');
    }
    const watch = client.Watch({ service: '' });
    const ended = new Promise((resolve) => watch.on('error', resolve));
    const first = await new Promise((resolve) => watch.once('data', resolve));
    assert.equal(first.status, 'SERVING');
    watch.cancel();
    assert.equal((await ended).code, grpc.status.CANCELLED);
  }, {}, health.v1.Health);
}

async function compression() {
  for (const algorithm of [grpc.compressionAlgorithms.gzip, grpc.compressionAlgorithms.deflate]) {
    await withClient(async (client) => {
      for (const rows of [1, 100_000]) await inferOnce(client, rows);
    }, { 'grpc.default_compression_algorithm': algorithm });
  }
}

// Where a ping were not answered in time, the library would give the connection up.
async function keepalive() {
  const options = {
    'grpc.keepalive_time_ms': 100,
    'grpc.keepalive_timeout_ms': 1000,
    'grpc.keepalive_permit_without_calls': 1,
  };
  await withClient(async (client) => {
    assertEcho(await ask(client, 'ModelInfer', request('two_seconds', [1, 1])), 1);
    assert.equal(client.getChannel().getConnectivityState(false), grpc.connectivityState.READY);
  }, options);
}

// What is under way when the server says goodbye is still answered.
async function drain() {
  await withClient(async (client) => {
    const asking = ask(client, 'ModelInfer', request('gated', [1, 1]));
    const { stream, ended, received } = openStream(client);
    stream.write(request('gated', [1, 1]));
    await inferOnce(client); // by now the others are on their way
    const told = new Promise((resolve) => readline.createInterface(process.stdin).once('line', resolve));
    console.log('draining');
    await told;
    assertEcho(await asking, 1);
    assertEcho((await received()).infer_response, 1);
    stream.end();
    assert.equal((await ended).code, grpc.status.OK);
    await assertFails(inferOnce(client, 1, deadline(10_000)), grpc.status.UNAVAILABLE);
  });
}

const CHECKS = {
  unary,
  control,
  large,
  errors,
  deadline: late,
  cancel,
  many,
  stream,
  stream_cancel: streamCancel,
  health: healthy,
  gzip: compression,
  keepalive,
  drain,
};

for (const [name, check] of Object.entries(CHECKS)) {
  try {
    await check();
    console.log(`ok ${name}`);
  } catch (error) {
    console.log(`failed ${name}: ${error.stack}`);
    process.exitCode = 1;
  }
}
process.exit();
