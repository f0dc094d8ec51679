//! Version 2: a binary header.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{MAX_HEADER, ProxyError, Said};

pub(super) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const FIXED: usize = 16;
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;

pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Said, usize)>, ProxyError> {
    if bytes.len() < FIXED {
        return Ok(None);
    }
    let length = usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
    if FIXED + length > MAX_HEADER {
        return Err(ProxyError::TooLong);
    }
    let Some(body) = bytes.get(FIXED..FIXED + length) else { return Ok(None) };
    let said = match bytes[12] {
        LOCAL => Said::Own,
        PROXY => addresses(bytes[13], body)?,
        _ => return Err(ProxyError::Damaged("unknown version or command")),
    };
    Ok(Some((said, FIXED + length)))
}

/// What follows the addresses are TLVs, which we do not need.
fn addresses(family: u8, body: &[u8]) -> Result<Said, ProxyError> {
    match family {
        TCP4 => {
            let fixed: &[u8; 12] = body.first_chunk().ok_or(ProxyError::Damaged("addresses are cut short"))?;
            let [a, b, c, d, e, f, g, h, ports @ ..] = *fixed;
            Ok(proxied(Ipv4Addr::new(a, b, c, d).into(), Ipv4Addr::new(e, f, g, h).into(), ports))
        }
        TCP6 => {
            let fixed: &[u8; 36] = body.first_chunk().ok_or(ProxyError::Damaged("addresses are cut short"))?;
            let (source, rest) = fixed.split_first_chunk::<16>().expect("36 bytes hold 16");
            let (destination, rest) = rest.split_first_chunk::<16>().expect("20 bytes hold 16");
            let ports = *rest.first_chunk::<4>().expect("4 bytes are left");
            Ok(proxied(Ipv6Addr::from(*source).into(), Ipv6Addr::from(*destination).into(), ports))
        }
        // Datagrams, Unix sockets, unspecified: the receiver should go on with the connection's own addresses.
        _ => Ok(Said::Own),
    }
}

fn proxied(source: IpAddr, destination: IpAddr, ports: [u8; 4]) -> Said {
    let [a, b, c, d] = ports;
    Said::Proxied {
        source: SocketAddr::new(source, u16::from_be_bytes([a, b])),
        destination: SocketAddr::new(destination, u16::from_be_bytes([c, d])),
    }
}
