// argv: port, receiver's URL.
'use strict';

const assert = require('assert');
const { Redis } = require('ioredis');
const { runCommands } = require('./commands.js');

async function main() {
  const [port, url] = process.argv.slice(2);
  const redis = new Redis(Number(port));
  redis.on('error', (error) => {
    throw error;
  });
  await runCommands((...words) => redis.call(...words), url);

  assert.strictEqual(await redis.set('plain', 'v'), 'OK');
  assert.strictEqual(await redis.get('plain'), 'v');
  assert.strictEqual(await redis.get('missing'), null);
  assert.strictEqual(await redis.del('plain', 'missing'), 1);
  assert.strictEqual(await redis.hset('hash', { a: '1', b: '2' }), 2);
  assert.deepStrictEqual({ ...(await redis.hgetall('hash')) }, { a: '1', b: '2' });
  const piped = await redis.pipeline().set('p', '1').get('p').lpush('l', 'a').exec();
  assert.deepStrictEqual(piped, [[null, 'OK'], [null, '1'], [null, 1]]);
  const done = await redis.multi().set('t', '1').get('t').exec();
  assert.deepStrictEqual(done, [[null, 'OK'], [null, '1']]);
  assert.match(await redis.info(), /redis_version:/);
  await redis.quit();
  console.log('all passed');
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
