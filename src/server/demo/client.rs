//! A small RESP2 client: the demo talks to its server over a socket, as any program would.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A server that has not answered for this long is broken.
const PATIENCE: Duration = Duration::from_secs(10);
/// No reply that the demo asks for is longer.
const BULK_BYTES_MAX: usize = 1 << 20;

/// A connection to a RESP server.
pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    /// Connects.
    pub fn connect(address: SocketAddr) -> io::Result<Client> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Client { stream: BufReader::new(stream) })
    }

    /// Sends commands in one write.
    pub fn send(&mut self, commands: &[&[String]]) -> io::Result<()> {
        let mut request = Vec::new();
        for words in commands {
            write!(request, "*{}\r\n", words.len())?;
            for word in *words {
                write!(request, "${}\r\n{word}\r\n", word.len())?;
            }
        }
        self.stream.get_mut().write_all(&request)
    }

    /// Reads the reply to one command. The inner error is the server's.
    pub fn reply(&mut self) -> io::Result<Result<String, String>> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end();
        let (kind, rest) = line.split_at_checked(1).ok_or(io::ErrorKind::InvalidData)?;
        match kind {
            "+" | ":" => Ok(Ok(rest.to_owned())),
            "-" => Ok(Err(rest.to_owned())),
            "$" if rest == "-1" => Ok(Ok("(nil)".to_owned())),
            "$" => {
                let length = rest.parse::<usize>().ok().filter(|length| *length <= BULK_BYTES_MAX);
                let mut bulk = vec![0; length.ok_or(io::ErrorKind::InvalidData)? + 2];
                self.stream.read_exact(&mut bulk)?;
                bulk.truncate(bulk.len() - 2);
                Ok(Ok(String::from_utf8_lossy(&bulk).into_owned()))
            }
            // None of the demo's commands is answered with anything else.
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}
