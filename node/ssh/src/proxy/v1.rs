//! Version 1: one line of text.

use std::net::{IpAddr, SocketAddr};

use super::{ProxyError, Said};

pub(super) const SIGNATURE: &[u8] = b"PROXY ";
/// The specification's longest line, with its end.
const MAX_LINE: usize = 107;

pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Said, usize)>, ProxyError> {
    let window = &bytes[..bytes.len().min(MAX_LINE)];
    let Some(end) = window.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() >= MAX_LINE { Err(ProxyError::Damaged("line without end")) } else { Ok(None) };
    };
    let line = std::str::from_utf8(&bytes[..end]).map_err(|_| ProxyError::Damaged("line is not text"))?;
    Ok(Some((said(line)?, end + 2)))
}

fn said(line: &str) -> Result<Said, ProxyError> {
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        // What follows UNKNOWN is to be ignored.
        ["PROXY", "UNKNOWN", ..] => Ok(Said::Own),
        ["PROXY", family @ ("TCP4" | "TCP6"), source, destination, source_port, destination_port] => {
            let v4 = family == "TCP4";
            Ok(Said::Proxied {
                source: SocketAddr::new(address(source, v4)?, port(source_port)?),
                destination: SocketAddr::new(address(destination, v4)?, port(destination_port)?),
            })
        }
        _ => Err(ProxyError::Damaged("unknown words")),
    }
}

fn address(text: &str, v4: bool) -> Result<IpAddr, ProxyError> {
    match text.parse::<IpAddr>() {
        Ok(address) if address.is_ipv4() == v4 => Ok(address),
        _ => Err(ProxyError::Damaged("bad address")),
    }
}

/// Decimal digits only, no sign, no leading zero.
fn port(text: &str) -> Result<u16, ProxyError> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain).ok_or(ProxyError::Damaged("bad port"))
}
