use super::*;

const ADDRESSES: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/addresses.txt"));

fn policy(block_private: bool, allowed_hosts: &[&str]) -> AddressPolicy {
    let hosts: Vec<String> = allowed_hosts.iter().map(|host| (*host).to_owned()).collect();
    AddressPolicy::new(block_private, &hosts).unwrap()
}

fn nobody(_: IpAddr) -> bool {
    false
}

fn table() -> impl Iterator<Item = (&'static str, &'static str)> {
    ADDRESSES
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with("# ") && *line != "#")
        .map(|line| line.rsplit_once(' ').map(|(host, verdict)| (host.trim(), verdict)).unwrap())
}

#[test]
fn every_spelling_of_an_address_gets_the_verdict_of_the_table() {
    let (open, strict) = (policy(false, &[]), policy(true, &[]));
    let any = policy(false, &["*"]);
    for (host, verdict) in table() {
        let Ok(endpoint) = Endpoint::parse(&format!("http://{host}/")) else {
            assert_eq!(verdict, "invalid", "{host}");
            continue;
        };
        let refused = |policy: &AddressPolicy| policy.check_endpoint(&endpoint).is_err();
        let found = match (refused(&open), refused(&strict)) {
            (true, true) => "always",
            (false, true) => "private",
            (false, false) => "public",
            (true, false) => "nonsense",
        };
        assert_eq!(found, verdict, "{host} is {:?}", endpoint.address());
        assert_eq!(refused(&any), refused(&open), "{host}: '*' opens nothing");
        // As an answer of DNS it gets the same verdict.
        let address = SocketAddr::new(endpoint.address().unwrap(), endpoint.port());
        assert_eq!(open.check_address(address, nobody).is_err(), refused(&open), "{host}");
        assert_eq!(strict.check_address(address, nobody).is_err(), refused(&strict), "{host}");
        // Named in the list it is open, in every tier.
        let named = policy(true, &[&address.ip().to_canonical().to_string()]);
        assert_eq!(named.check_endpoint(&endpoint), Ok(()), "{host}");
        assert_eq!(named.check_address(address, nobody), Ok(()), "{host}");
    }
    assert!(table().count() > 150, "the table was read");
}

#[test]
fn the_reason_is_said() {
    let refused = |policy: &AddressPolicy, url: &str| {
        policy.check_endpoint(&Endpoint::parse(url).unwrap()).unwrap_err().to_string()
    };
    let error = refused(&policy(false, &[]), "http://169.254.169.254/latest");
    assert!(error.contains("169.254.169.254 is a link-local address"), "{error}");
    let error = refused(&policy(true, &[]), "http://10.0.0.1/");
    assert!(error.contains("10.0.0.1 is a private address"), "{error}");
    let error = refused(&policy(true, &["a.test"]), "http://b.test/");
    assert_eq!(error, "host 'b.test' is not allowed (allowed_hosts)");
    let own = policy(false, &[]);
    own.add_own_listener("127.0.0.1:6379".parse().unwrap());
    let error = refused(&own, "http://127.0.0.1:6379/");
    assert!(error.contains("127.0.0.1:6379 is this server's own"), "{error}");
}

#[test]
fn a_network_in_the_list_opens_itself_and_nothing_else() {
    let policy = policy(true, &["hooks.test", "10.1.0.0/16", "169.254.7.7:80"]);
    let connects = |address: &str| policy.check_address(address.parse().unwrap(), nobody).is_ok();
    let named = |url: &str| policy.check_endpoint(&Endpoint::parse(url).unwrap()).is_ok();
    assert!(named("http://hooks.test/") && named("http://10.1.2.3:99/"));
    assert!(named("http://169.254.7.7/") && !named("http://169.254.7.7:81/"));
    assert!(!named("http://10.2.0.1/") && !named("http://8.8.8.8/") && !named("http://x.test/"));
    // What the allowed name resolves to.
    assert!(connects("10.1.2.3:80") && connects("8.8.8.8:443") && connects("169.254.7.7:80"));
    assert!(!connects("10.2.0.1:80") && !connects("127.0.0.1:80") && !connects("169.254.7.7:81"));
}

#[test]
fn no_webhook_leads_to_this_server() {
    let ours: IpAddr = "192.0.2.7".parse().unwrap();
    let policy = policy(false, &[]);
    for listener in ["127.0.0.1:6379", "0.0.0.0:6380", "[::]:6381"] {
        policy.add_own_listener(listener.parse().unwrap());
    }
    for (address, verdict) in [
        ("127.0.0.1:6379", false),
        ("[::ffff:127.0.0.1]:6379", false),
        ("127.0.0.2:6379", true),
        ("[::1]:6379", true),
        ("127.0.0.1:6378", true),
        ("127.0.0.1:6380", false),
        ("127.9.9.9:6380", false),
        ("192.0.2.7:6380", false),
        ("192.0.2.8:6380", true),
        ("[::1]:6381", false),
        ("192.0.2.7:6381", false),
        ("192.0.2.7:6382", true),
    ] {
        let checked = policy.check_address(address.parse().unwrap(), |ip| ip == ours);
        assert_eq!(checked.is_ok(), verdict, "{address}");
    }
}

#[test]
fn only_an_address_with_its_port_opens_an_own_listener() {
    let listener: SocketAddr = "127.0.0.1:6379".parse().unwrap();
    for (entry, verdict) in [("127.0.0.0/8", false), ("127.0.0.1", false), ("127.0.0.1:6379", true)]
    {
        let policy = policy(false, &[entry]);
        policy.add_own_listener(listener);
        assert_eq!(policy.check_address(listener, nobody).is_ok(), verdict, "{entry}");
    }
}
