"""redis-py against the server. argv: port, receiver's URL, protocol (default, 2 or 3)."""

import sys
import time

import redis

port, url, protocol = int(sys.argv[1]), sys.argv[2], sys.argv[3]
options = {} if protocol == "default" else {"protocol": int(protocol)}
client = redis.Redis(port=port, **options)


def is_ok(reply):
    assert reply in (True, "OK", b"OK"), reply


def fields(reply):
    """A map in RESP3, names and values in turn in RESP2."""
    if protocol == "2":
        assert type(reply) is list, reply
        return dict(zip(reply[::2], reply[1::2]))
    if protocol == "3":
        assert type(reply) is dict, reply
    return reply if type(reply) is dict else dict(zip(reply[::2], reply[1::2]))


def command(*words):
    return client.execute_command(*words)


assert client.ping() is True
is_ok(command("WEBHOOK.CREATE", "orders", url, "PATTERN", "order:*", "EVENTS", "SET", "DEL"))
listed = command("WEBHOOK.LIST")
assert type(listed) is list and len(listed) == 1, listed
entry = fields(listed[0])
assert entry[b"name"] == b"orders" and entry[b"events"] == [b"SET", b"DEL"], entry
is_ok(command("WEBHOOK.UPDATE", "orders", "EVENTS", "SET"))
is_ok(command("WEBHOOK.DISABLE", "orders"))
info = fields(command("WEBHOOK.INFO", "orders"))
assert info[b"status"] == b"disabled" and info[b"last_delivery"] is None, info
assert type(info[b"deliveries"]) is int and type(info[b"created_at"]) is bytes, info
is_ok(command("WEBHOOK.ENABLE", "orders"))
test = fields(command("WEBHOOK.TEST", "orders"))
assert test[b"result"] == b"success" and test[b"http_status"] == 200, test
assert test[b"error"] is None, test
is_ok(client.set("order:1", "Alice"))
is_ok(command("WEBHOOK.PUBLISH", "SET", "order:2", b"\xff\x00Bob"))
for look in range(2000):
    info = fields(command("WEBHOOK.INFO", "orders"))
    assert info[b"failures"] == 0, info
    if info[b"deliveries"] == 2:
        break
    time.sleep(0.01)
else:
    raise AssertionError("never delivered")
deliveries = command("WEBHOOK.DELIVERIES", "orders", "COUNT", 10)
assert [fields(entry)[b"http_status"] for entry in deliveries] == [200, 200], deliveries
stats = fields(command("WEBHOOK.STATS"))
assert stats[b"total_webhooks"] == 1 and stats[b"successful_deliveries"] == 2, stats
assert fields(command("WEBHOOK.STATS", "orders"))[b"delivered"] == 2
assert type(command("WEBHOOK.HELP")) is list
try:
    command("WEBHOOK.INFO", "nobody")
    raise AssertionError("no error")
except redis.ResponseError as error:
    assert str(error) == "NOWEBHOOK no such webhook 'nobody'", error
is_ok(command("WEBHOOK.DELETE", "orders"))
assert command("WEBHOOK.LIST") == []

assert client.get("missing") is None
assert client.set("k", "v") and client.get("k") == b"v"
assert client.delete("k", "missing") == 1
assert client.hset("hash", mapping={"a": 1, "b": 2}) == 2
assert client.hgetall("hash") == {b"a": b"1", b"b": b"2"}
assert client.zadd("scores", {"m": 1.5}) == 1 and client.zscore("scores", "m") == 1.5
with client.pipeline(transaction=False) as pipeline:
    assert pipeline.set("p", 1).get("p").lpush("l", "a").execute() == [True, b"1", 1]
with client.pipeline(transaction=True) as pipeline:
    assert pipeline.set("t", 1).get("t").delete("t").execute() == [True, b"1", 1]
with client.pipeline() as pipeline:
    pipeline.watch("w")
    client.set("w", "changed")
    pipeline.multi()
    pipeline.set("w", "lost")
    try:
        pipeline.execute()
        raise AssertionError("the transaction was not aborted")
    except redis.WatchError:
        pass
assert client.get("w") == b"changed"
assert client.info()["redis_mode"] == "standalone"
assert client.client_getname() is None and client.client_setname("me")
assert client.client_list()[0]["name"] == "me"
text = redis.Redis(port=port, decode_responses=True)
assert text.get("w") == "changed"
print("all passed")
