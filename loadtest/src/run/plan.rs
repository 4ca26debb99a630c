//! Which webhooks a run makes.

use super::options::Options;

/// A webhook to make.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Planned {
    pub name: String,
    pub url: String,
    pub pattern: String,
}

/// The webhooks of a run: first those that match every event, then those that match none. The
/// URLs are given in turn. Several webhooks have paths that end in their names: so `verify` can
/// tell their requests apart.
pub(super) fn webhooks(options: &Options, name: &str, urls: &[String]) -> Vec<Planned> {
    let matching = options.matching() as usize;
    let plan = |number: usize| {
        let url = &urls[number % urls.len()];
        let name = format!("{name}-{number}");
        let url = match options.webhooks {
            1 => url.clone(),
            _ => format!("{}/{name}", url.trim_end_matches('/')),
        };
        let pattern = if number < matching {
            format!("{}*", escaped(options.key_prefix()))
        } else {
            // Begins with what no key begins with.
            format!("unmatched-{number}:{}*", escaped(options.key_prefix()))
        };
        Planned { name, url, pattern }
    };
    let bystander = |(number, url): (usize, &String)| Planned {
        name: format!("{name}-bystander-{number}"),
        url: url.clone(),
        pattern: format!("{}*", escaped(options.key_prefix())),
    };
    let bystanders = options.bystanders.iter().enumerate().map(bystander);
    (0..options.webhooks as usize).map(plan).chain(bystanders).collect()
}

/// A glob that matches `text` only.
fn escaped(text: &str) -> String {
    let mut glob = String::new();
    for letter in text.chars() {
        if matches!(letter, '*' | '?' | '[' | ']' | '\\') {
            glob.push('\\');
        }
        glob.push(letter);
    }
    glob
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn webhooks_share_urls_and_only_the_matching_ones_match() {
        let options = Options {
            webhooks: 5,
            matching: Some(2),
            key_prefix: Some("a[1]:".to_owned()),
            ..Options::default()
        };
        let urls = ["http://h:1/x".to_owned(), "http://h:2/".to_owned()];
        let planned = webhooks(&options, "load", &urls);
        let got: Vec<&str> = planned.iter().map(|webhook| webhook.url.as_str()).collect();
        let expected = [
            "http://h:1/x/load-0",
            "http://h:2/load-1",
            "http://h:1/x/load-2",
            "http://h:2/load-3",
            "http://h:1/x/load-4",
        ];
        assert_eq!(got, expected);
        assert_eq!(planned[4].name, "load-4");
        let matches = |webhook: &&Planned| {
            ferrite::core::glob::Glob::parse(webhook.pattern.as_bytes()).matches(b"a[1]:77")
        };
        assert_eq!(planned.iter().filter(matches).count(), 2);
        assert!(planned[..2].iter().all(|webhook| matches(&webhook)));
        let alone = webhooks(&Options::default(), "load", &urls);
        assert_eq!((alone.len(), alone[0].url.as_str()), (1, "http://h:1/x"));
    }
}
