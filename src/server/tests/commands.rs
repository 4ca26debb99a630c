//! The connection's and the server's own commands.

use super::*;

#[test]
fn replies_have_the_exact_texts() {
    let server = TestServer::start();
    let mut client = server.client();
    for (command, reply) in [
        ("PING", "+PONG\r\n"),
        ("PING \"hello world\"", "$11\r\nhello world\r\n"),
        ("PING a b", "-ERR wrong number of arguments for 'ping' command\r\n"),
        ("ECHO \"\\x41\\n\"", "$2\r\nA\n\r\n"),
        ("FOO a b", "-ERR unknown command 'FOO', with args beginning with: 'a' 'b' \r\n"),
        ("GET", "-ERR wrong number of arguments for 'get' command\r\n"),
        ("CLIENT", "-ERR wrong number of arguments for 'client' command\r\n"),
        ("CLIENT FOO", "-ERR unknown subcommand 'FOO'. Try CLIENT HELP.\r\n"),
        (
            "CLIENT MAINT_NOTIFICATIONS ON",
            "-ERR unknown subcommand 'MAINT_NOTIFICATIONS'. Try CLIENT HELP.\r\n",
        ),
        ("client setname", "-ERR wrong number of arguments for 'client|setname' command\r\n"),
        (
            "CLIENT SETNAME \"a b\"",
            "-ERR Client names cannot contain spaces, newlines or special characters.\r\n",
        ),
        (
            "CLIENT SETINFO LIB-NAME \"a b\"",
            "-ERR LIB-NAME cannot contain spaces, newlines or special characters.\r\n",
        ),
        ("CLIENT SETINFO LIB-NAME redis-py", "+OK\r\n"),
        ("CLIENT GETNAME", "$-1\r\n"),
        ("CLIENT SETNAME me", "+OK\r\n"),
        ("CLIENT GETNAME", "$2\r\nme\r\n"),
        ("CLIENT ID", ":1\r\n"),
        ("CLIENT NO-EVICT on", "+OK\r\n"),
        ("CLIENT KILL 1.2.3.4:5", "-ERR No such client\r\n"),
        ("CLIENT KILL ID 99", ":0\r\n"),
        ("SELECT 99", "-ERR DB index is out of range\r\n"),
        ("SELECT x", "-ERR value is not an integer or out of range\r\n"),
        ("SELECT 3", "+OK\r\n"),
        (
            "AUTH x",
            "-ERR AUTH <password> called without any password configured for the default user. \
             Are you sure your configuration is correct?\r\n",
        ),
        ("AUTH a b", "-WRONGPASS invalid username-password pair or user is disabled.\r\n"),
        ("AUTH default b", "+OK\r\n"),
        ("HELLO 4", "-NOPROTO unsupported protocol version\r\n"),
        ("HELLO x", "-ERR Protocol version is not an integer or out of range\r\n"),
        ("CONFIG GET nosuch", "*0\r\n"),
        ("CONFIG GET maxmemory", "*2\r\n$9\r\nmaxmemory\r\n$1\r\n0\r\n"),
        ("CONFIG GET save", "*2\r\n$4\r\nsave\r\n$0\r\n\r\n"),
        (
            "CONFIG SET nosuch 1",
            "-ERR Unknown option or number of arguments for CONFIG SET - 'nosuch'\r\n",
        ),
        ("CONFIG SET timeout 7 save \"\"", "+OK\r\n"),
        ("CONFIG GET timeout", "*2\r\n$7\r\ntimeout\r\n$1\r\n7\r\n"),
        ("CLUSTER INFO", "-ERR This instance has cluster support disabled\r\n"),
        ("READONLY", "-ERR This instance has cluster support disabled\r\n"),
        ("ACL WHOAMI", "$7\r\ndefault\r\n"),
        ("WAIT 0 0", ":0\r\n"),
        ("SLOWLOG GET", "*0\r\n"),
        ("LATENCY LATEST", "*0\r\n"),
        ("FUNCTION FLUSH", "+OK\r\n"),
        ("SCRIPT FLUSH", "+OK\r\n"),
        ("COMMAND INFO nosuch", "*1\r\n*-1\r\n"),
        ("COMMAND DOCS nosuch", "*0\r\n"),
        ("COMMAND GETKEYS SET a b", "*1\r\n$1\r\na\r\n"),
        ("DISCARD", "-ERR DISCARD without MULTI\r\n"),
        ("EXEC", "-ERR EXEC without MULTI\r\n"),
        ("INFO nosuch", "$0\r\n\r\n"),
        ("RESET", "+RESET\r\n"),
    ] {
        client.ask(command, reply);
    }
    client.send("QUIT\r\nPING\r\n");
    client.expect("+OK\r\n");
    client.expect_end();
}

#[test]
fn resp3_is_chosen_with_hello() {
    let server = TestServer::start();
    let mut client = server.client();
    let hello = client.answer("hello 3 SETNAME n");
    assert!(hello.starts_with("%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n"), "{hello}");
    assert!(hello.contains("$5\r\nproto\r\n:3\r\n$2\r\nid\r\n:1\r\n"), "{hello}");
    client.ask("CONFIG GET maxmemory", "%1\r\n$9\r\nmaxmemory\r\n$1\r\n0\r\n");
    client.ask("GET missing", "_\r\n");
    assert!(client.answer("CLIENT LIST").starts_with("="));
    client.ask("RESET", "+RESET\r\n");
    client.ask("CLIENT GETNAME", "$-1\r\n");
    assert!(client.answer("HELLO").starts_with("*14\r\n"));
}

#[test]
fn a_password_is_asked_for() {
    let server = TestServer::with(ServerSettings {
        requirepass: Some("hunter2".to_owned()),
        ..ServerSettings::default()
    });
    let mut client = server.client();
    client.ask("PING", "-NOAUTH Authentication required.\r\n");
    client.ask("WEBHOOK.LIST", "-NOAUTH Authentication required.\r\n");
    client.ask("FOO", "-ERR unknown command 'FOO', with args beginning with: \r\n");
    let mut greeter = server.client();
    greeter.send("HELLO 3\r\n");
    greeter.expect("-NOAUTH HELLO must be called with the client already authenticated");
    let wrong = "-WRONGPASS invalid username-password pair or user is disabled.\r\n";
    client.ask("AUTH hunter", wrong);
    client.ask("HELLO 3 AUTH default x", wrong);
    client.ask("AUTH other hunter2", wrong);
    client.ask("AUTH hunter2", "+OK\r\n");
    client.ask("PING", "+PONG\r\n");
    let config = client.answer("CONFIG GET *");
    assert!(config.contains("requirepass") && !config.contains("hunter2"));
    client.ask("RESET", "+RESET\r\n");
    client.ask("PING", "-NOAUTH Authentication required.\r\n");
    let mut client = server.client();
    assert!(client.answer("HELLO 3 AUTH default hunter2").starts_with("%7"));
    let mut client = server.client();
    client.send("*11\r\n");
    client.expect("-ERR Protocol error: unauthenticated multibulk length\r\n");
    client.expect_end();
    let mut client = server.client();
    client.send("*1\r\n$16385\r\n");
    client.expect("-ERR Protocol error: unauthenticated bulk length\r\n");
    client.expect_end();
}

#[test]
fn transactions_queue_and_abort() {
    let server = TestServer::start();
    let mut client = server.client();
    client.send("MULTI\r\nSET k 1\r\nGET k\r\nEXEC\r\n");
    client.expect("+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n+OK\r\n$1\r\n1\r\n");
    client.send("MULTI\r\nFOO\r\nEXEC\r\n");
    client.expect("+OK\r\n-ERR unknown command 'FOO', with args beginning with: \r\n");
    client.expect("-EXECABORT Transaction discarded because of previous errors.\r\n");
    client.send("MULTI\r\nMULTI\r\nEXEC\r\nMULTI\r\nDISCARD\r\n");
    client.expect("+OK\r\n-ERR MULTI calls can not be nested\r\n*0\r\n+OK\r\n+OK\r\n");
    client.send("MULTI\r\nWEBHOOK.TEST x\r\nEXEC\r\n");
    client.expect("+OK\r\n-ERR Command not allowed inside a transaction\r\n");
    client.expect("-EXECABORT Transaction discarded because of previous errors.\r\n");
}

#[test]
fn a_watched_key_that_changes_aborts() {
    let server = TestServer::start();
    let (mut client, mut other) = (server.client(), server.client());
    client.ask("WATCH k", "+OK\r\n");
    other.ask("SET k 2", "+OK\r\n");
    client.send("MULTI\r\nGET k\r\nEXEC\r\n");
    client.expect("+OK\r\n+QUEUED\r\n*-1\r\n");
    client.ask("WATCH k", "+OK\r\n");
    other.ask("SET j 2", "+OK\r\n");
    client.send("MULTI\r\nGET k\r\nEXEC\r\n");
    client.expect("+OK\r\n+QUEUED\r\n*1\r\n$1\r\n2\r\n");
}

#[test]
fn unwanted_replies_are_not_sent() {
    let server = TestServer::start();
    let mut client = server.client();
    client.send("CLIENT REPLY SKIP\r\nPING\r\nPING a\r\n");
    client.expect("$1\r\na\r\n");
    client.send("CLIENT REPLY OFF\r\nPING\r\nPING\r\nCLIENT REPLY ON\r\nPING b\r\n");
    client.expect("+OK\r\n$1\r\nb\r\n");
}

#[test]
fn clients_are_listed_and_killed() {
    let server = TestServer::start();
    let (mut client, mut other) = (server.client(), server.client());
    other.ask("CLIENT SETNAME victim", "+OK\r\n");
    let list = client.answer("CLIENT LIST");
    assert!(list.contains("name=victim ") && list.contains("cmd=client|list "), "{list}");
    let field = |name: &str| {
        let line = list.lines().find(|line| line.contains("name=victim")).unwrap();
        line.split(' ').find_map(|field| field.strip_prefix(name)).unwrap().to_owned()
    };
    client.ask(&format!("CLIENT KILL ID {}", field("id=")), ":1\r\n");
    other.expect_end();
    let mut third = server.client();
    third.ask("PING", "+PONG\r\n");
    client.ask("CLIENT KILL TYPE normal SKIPME yes", ":1\r\n");
    third.expect_end();
    client.ask("CLIENT KILL TYPE normal SKIPME no", ":1\r\n");
    client.expect_end();
}

#[test]
fn info_has_what_clients_look_for() {
    let server = TestServer::start();
    let mut client = server.client();
    client.ask("SET k v PX 100000", "+OK\r\n");
    let info = client.answer("INFO");
    for wanted in [
        "# Server\r\nredis_version:7.2.4\r\n",
        "\r\n\r\n# Clients\r\nconnected_clients:1\r\n",
        "loading:0\r\n",
        "role:master\r\n",
        "cluster_enabled:0\r\n",
        "# Webhooks\r\n",
        "db0:keys=1,expires=1,avg_ttl=0\r\n",
    ] {
        assert!(info.contains(wanted), "{wanted}: {info}");
    }
    assert!(client.answer("INFO cluster").starts_with("$30\r\n# Cluster\r\ncluster_enabled:0"));
}

#[test]
fn docs_have_the_types_that_the_command_line_client_asserts() {
    let server = TestServer::start();
    let mut client = server.client();
    let docs = client.answer("COMMAND DOCS webhook.create");
    for wanted in [
        "*2\r\n$14\r\nwebhook.create\r\n*8\r\n$7\r\nsummary\r\n",
        "$5\r\ngroup\r\n$7\r\nwebhook\r\n$9\r\narguments\r\n*",
        "$4\r\nname\r\n$7\r\npattern\r\n$4\r\ntype\r\n$7\r\npattern\r\n$5\r\ntoken\r\n$7\r\nPATTERN\
         \r\n$5\r\nflags\r\n*1\r\n+optional\r\n",
    ] {
        assert!(docs.contains(wanted), "{wanted}: {docs}");
    }
    let row = client.answer("COMMAND INFO webhook.create");
    assert!(row.contains(":0\r\n:0\r\n:0\r\n"), "{row}");
    assert!(row.contains("+@dangerous\r\n") && row.contains("+@webhook\r\n"), "{row}");
    assert!(client.answer("COMMAND COUNT").starts_with(':'));
    assert!(client.answer("COMMAND DOCS").starts_with('*'));
}

#[test]
fn too_many_clients_are_told_so() {
    let server = TestServer::with(ServerSettings { maxclients: 1, ..ServerSettings::default() });
    let mut client = server.client();
    client.ask("PING", "+PONG\r\n");
    let mut refused = server.client();
    refused.expect("-ERR max number of clients reached\r\n");
    refused.expect_end();
    drop(client);
    // The place becomes free once the server has seen the end of the first connection.
    let works = (0..200).any(|_| {
        std::thread::sleep(Duration::from_millis(5));
        let mut client = server.client();
        client.send("PING\r\n");
        let mut answer = [0; 1];
        client.socket.read_exact(&mut answer).is_ok() && answer == *b"+"
    });
    assert!(works);
}

#[test]
fn large_pipelines_and_large_values_come_through() {
    let server = TestServer::start();
    let mut client = server.client();
    let mut writer = client.socket.try_clone().unwrap();
    let thread = std::thread::spawn(move || writer.write_all(&b"PING\r\n".repeat(200_000)));
    client.expect(b"+PONG\r\n".repeat(200_000));
    thread.join().unwrap().unwrap();
    let value = vec![b'v'; 20 << 20];
    let mut writer = client.socket.try_clone().unwrap();
    let set = [
        format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\n", value.len()).into_bytes(),
        value.clone(),
        b"\r\nGET k\r\n".to_vec(),
    ];
    let thread = std::thread::spawn(move || writer.write_all(&set.concat()));
    client.expect("+OK\r\n");
    client.expect([format!("${}\r\n", value.len()).as_bytes(), &value, b"\r\n"].concat());
    thread.join().unwrap().unwrap();
}
