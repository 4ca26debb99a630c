-- What wrk posts when it stands beside the engine: see "Measured" in the README.
wrk.method = "POST"
wrk.body = string.rep("x", 350)
wrk.headers["Content-Type"] = "application/json"
