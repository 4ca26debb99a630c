// argv: port, receiver's URL.
'use strict';

const assert = require('assert');
const { createClient } = require('redis');
const { runCommands } = require('./commands.js');

async function main() {
  const [port, url] = process.argv.slice(2);
  const client = createClient({ url: `redis://127.0.0.1:${port}` });
  client.on('error', (error) => {
    throw error;
  });
  await client.connect();
  await runCommands((...words) => client.sendCommand(words), url);

  assert.strictEqual(await client.set('plain', 'v'), 'OK');
  assert.strictEqual(await client.get('plain'), 'v');
  assert.strictEqual(await client.get('missing'), null);
  assert.strictEqual(await client.del(['plain', 'missing']), 1);
  assert.strictEqual(await client.hSet('hash', { a: '1', b: '2' }), 2);
  assert.deepStrictEqual({ ...(await client.hGetAll('hash')) }, { a: '1', b: '2' });
  assert.deepStrictEqual(await client.multi().set('t', '1').get('t').exec(), ['OK', '1']);
  const piped = await Promise.all([client.set('p', '1'), client.get('p'), client.lPush('l', 'a')]);
  assert.deepStrictEqual(piped, ['OK', '1', 1]);
  await client.close();
  console.log('all passed');
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
