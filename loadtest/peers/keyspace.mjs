// What is done today without Ferrite: a node process that listens to the keyspace notifications of
// Redis, reads each key's value, and posts both. `compare` runs it as the peer `node`.
//
// node keyspace.mjs NODE_MODULES REDIS_SOCKET URL CONNECTIONS
import { createRequire } from 'node:module'
import http from 'node:http'
import path from 'node:path'

const [modules, socket, url, connections] = process.argv.slice(2)
const require = createRequire(path.join(modules, 'x.js'))
const Redis = require('ioredis')
const most = Number(connections)

// undici is the quickest client for node; the built-in one stands in where it is not installed.
function poster() {
  let undici
  try {
    undici = require('undici')
  } catch {
    const agent = new http.Agent({ keepAlive: true, maxSockets: most })
    const headers = { 'content-type': 'application/json' }
    return (body) =>
      new Promise((resolve, reject) => {
        const options = { method: 'POST', agent, headers: { ...headers, 'content-length': Buffer.byteLength(body) } }
        const request = http.request(url, options, (response) => {
          response.on('end', () => resolve(response.statusCode)).on('error', reject).resume()
        })
        request.on('error', reject).end(body)
      })
  }
  const { origin, pathname } = new URL(url)
  const pool = new undici.Pool(origin, { connections: most, pipelining: 1 })
  const headers = { 'content-type': 'application/json' }
  return async (body) => {
    const response = await pool.request({ path: pathname, method: 'POST', headers, body })
    await response.body.dump()
    return response.statusCode
  }
}

const post = poster()
const options = { path: socket, enableAutoPipelining: true }
const subscriber = new Redis(options)
const reader = new Redis(options)
const waiting = []
let next = 0
let underWay = 0
let number = 0

function fail(error) {
  console.error(String(error))
  process.exit(1)
}

async function deliver(key) {
  const value = await reader.get(key)
  const body = JSON.stringify({
    id: `evt_${String(number++).padStart(26, '0')}`,
    event: 'set',
    key,
    value,
    timestamp: new Date().toISOString(),
  })
  const status = await post(body)
  if (status !== 200) throw new Error(`status ${status}`)
}

// As many deliveries at once as there are connections; the rest waits in memory.
function pump() {
  while (underWay < most && next < waiting.length) {
    const key = waiting[next++]
    underWay++
    deliver(key).then(() => {
      underWay--
      pump()
    }, fail)
  }
  if (next > 100_000) waiting.splice(0, next), (next = 0)
}

process.on('SIGINT', () => process.exit(0))
subscriber.on('message', (_, key) => {
  waiting.push(key)
  pump()
})
subscriber.subscribe('__keyevent@0__:set').then(() => console.log('ready'), fail)
