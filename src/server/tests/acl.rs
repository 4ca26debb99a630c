//! Access: AUTH, the one user, and the categories of commands.

use super::*;

#[test]
fn there_is_one_user() {
    let server = TestServer::start();
    let mut client = server.client();
    client.ask("ACL WHOAMI", "$7\r\ndefault\r\n");
    client.ask("ACL USERS", "*1\r\n$7\r\ndefault\r\n");
    let rule = "user default on nopass sanitize-payload ~* &* +@all";
    client.ask("ACL LIST", &format!("*1\r\n${}\r\n{rule}\r\n", rule.len()));
    client.ask("ACL GETUSER nobody", "$-1\r\n");
    let user = client.answer("ACL GETUSER default");
    assert!(user.starts_with("*12\r\n$5\r\nflags\r\n*3\r\n$2\r\non\r\n"), "{user}");
    client.ask("ACL LOG", "*0\r\n");
    client.ask("ACL LOG RESET", "+OK\r\n");
    assert!(client.answer("ACL SETUSER x on").starts_with("-ERR unknown subcommand"));
}

#[test]
fn the_webhook_commands_are_a_category() {
    let server = TestServer::start();
    let mut client = server.client();
    let all = client.answer("ACL CAT");
    assert!(all.starts_with("*22\r\n$8\r\nkeyspace\r\n") && all.contains("$7\r\nwebhook\r\n"));
    let webhook = client.answer("ACL CAT Webhook");
    for name in ["webhook.create", "webhook.publish", "webhook.stats", "webhook.test"] {
        assert!(webhook.contains(&format!("\r\n{name}\r\n")), "{name}: {webhook}");
    }
    assert!(!webhook.contains("\r\nset\r\n"));
    // Who runs them can make the server connect to places: they are for administrators.
    let dangerous = client.answer("ACL CAT dangerous");
    assert!(dangerous.contains("webhook.create") && !dangerous.contains("\r\nget\r\n"));
    let row = client.answer("COMMAND INFO webhook.create");
    for word in ["+admin\r\n", "+@admin\r\n", "+@dangerous\r\n", "+@webhook\r\n"] {
        assert!(row.contains(word), "{word}: {row}");
    }
    client.ask("ACL CAT nothing", "-ERR Unknown category 'nothing'\r\n");
}

#[test]
fn nothing_is_done_before_the_password_is_given() {
    let settings =
        ServerSettings { requirepass: Some("hunter2".to_owned()), ..ServerSettings::default() };
    let server = TestServer::with(settings);
    let mut client = server.client();
    for line in ["SET k v", "WEBHOOK.LIST", "WEBHOOK.CREATE w http://a.test/", "ACL WHOAMI", "INFO"]
    {
        client.ask(line, "-NOAUTH Authentication required.\r\n");
    }
    let refused = "-WRONGPASS invalid username-password pair or user is disabled.\r\n";
    for line in ["AUTH hunter", "AUTH default hunter", "AUTH nobody hunter2", "AUTH hunter22"] {
        client.ask(line, refused);
    }
    client.ask("ACL WHOAMI", "-NOAUTH Authentication required.\r\n");
    client.ask("AUTH default hunter2", "+OK\r\n");
    client.ask("ACL WHOAMI", "$7\r\ndefault\r\n");
    let rule = "user default on sanitize-payload ~* &* +@all";
    client.ask("ACL LIST", &format!("*1\r\n${}\r\n{rule}\r\n", rule.len()));
    client.ask("RESET", "+RESET\r\n");
    client.ask("WEBHOOK.LIST", "-NOAUTH Authentication required.\r\n");
}
