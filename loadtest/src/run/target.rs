//! What a run drives.

use std::fmt;
use std::str::FromStr;

/// What is driven.
#[derive(Clone, PartialEq, Eq)]
pub enum Target {
    /// The engine within this process.
    Embedded,
    /// A running `ferrite serve`.
    Server {
        /// Host and port.
        address: String,
        /// The password, if it wants one.
        password: Option<String>,
    },
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Target, String> {
        const WANTED: &str = "want `embedded` or redis://[:password@]host[:port]";
        const PORT_DEFAULT: u16 = 6379;
        if text == "embedded" {
            return Ok(Target::Embedded);
        }
        // The text may hold a password: no error repeats it.
        let url = url::Url::parse(text).map_err(|error| format!("{error}; {WANTED}"))?;
        let host = url.host_str().filter(|_| url.scheme() == "redis").ok_or(WANTED)?;
        let port = url.port().unwrap_or(PORT_DEFAULT);
        Ok(Target::Server {
            address: format!("{host}:{port}"),
            password: url.password().map(decoded).transpose()?,
        })
    }
}

/// A part of a URL, without its percent signs.
fn decoded(text: &str) -> Result<String, String> {
    let text = percent_encoding::percent_decode_str(text).decode_utf8();
    Ok(text.map_err(|_| "the password must be UTF-8")?.into_owned())
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Embedded => formatter.write_str("embedded"),
            Target::Server { address, .. } => write!(formatter, "redis://{address}"),
        }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_and_never_show_a_password() {
        let target: Target = "redis://:p%20w@localhost".parse().unwrap();
        let (address, password) = ("localhost:6379".to_owned(), Some("p w".to_owned()));
        assert_eq!(target, Target::Server { address, password });
        assert_eq!(format!("{target} {target:?}"), "redis://localhost:6379 redis://localhost:6379");
        for wrong in
            ["", "127.0.0.1:6379", "http://localhost", "redis://", "redis://h:p", "redis://:%ff@h"]
        {
            assert!(wrong.parse::<Target>().is_err(), "{wrong}");
        }
    }
}
