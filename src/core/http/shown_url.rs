//! URLs as people are shown them.

/// What stands in the place of a secret.
const MASK: &str = "********";

/// The URL without the values of its query, which are a usual place for tokens (SEC-3). The names
/// of parameters stay; one without a value may be a token itself and does not.
pub fn shown_url(url: &str) -> String {
    let Some((rest, query)) = url.split_once('?') else { return url.to_owned() };
    let masked: Vec<String> = query
        .split('&')
        .map(|parameter| match parameter.split_once('=') {
            Some((name, _)) => format!("{name}={MASK}"),
            None if parameter.is_empty() => String::new(),
            None => MASK.to_owned(),
        })
        .collect();
    format!("{rest}?{}", masked.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_the_query_are_masked_and_nothing_else() {
        for (url, shown) in [
            ("http://h/p", "http://h/p"),
            ("http://h/p?", "http://h/p?"),
            ("http://h/p?token=hunter2", "http://h/p?token=********"),
            (
                "http://h/?a=hunter2=x&b=&hunter2&&c",
                "http://h/?a=********&b=********&********&&********",
            ),
            ("http://h?a=b?hunter2", "http://h?a=********"),
        ] {
            assert_eq!(shown_url(url), shown);
        }
    }
}
