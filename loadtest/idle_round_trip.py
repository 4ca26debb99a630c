"""A bare request over one connection after 40 ms of idleness, a hundred times: what the engine's
`--latency` stands beside. See "Measured" in the README."""

import socket
import time

connection = socket.create_connection(("127.0.0.1", 9900))
connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
request = b"POST /hook HTTP/1.1\r\nHost: sink\r\nContent-Length: 350\r\n\r\n" + b"x" * 350
times = []
for _ in range(100):
    time.sleep(0.04)
    began = time.perf_counter()
    connection.sendall(request)
    connection.recv(4096)
    times.append((time.perf_counter() - began) * 1e6)
times.sort()
print(f"bare request after idleness: p50 {times[50]:.0f} us, p99 {times[98]:.0f} us")
