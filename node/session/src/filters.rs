//! From where, how and by which protocol a user may log in. Deny wins over allow.

use std::net::IpAddr;

use flotilla_model::{Filters, Status, User};

/// Why a user may not log in although the credential may be right. For logs only: clients hear the same as for a wrong one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoginForbidden {
    #[error("user is disabled")]
    Disabled,
    #[error("user has expired")]
    Expired,
    #[error("address is not allowed")]
    Address,
    #[error("login method is denied")]
    Method,
    #[error("protocol is denied")]
    Protocol,
}

/// How somebody tries to log in.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    pub address: IpAddr,
    pub method: &'static str,
    /// Milliseconds since the epoch: dates that people set run on the wall clock.
    pub wall_ms: u64,
}

/// SFTP and SCP are both `SSH` to the filters.
const PROTOCOL: &str = "SSH";

pub fn judge(user: &User, attempt: Attempt) -> Result<(), LoginForbidden> {
    if user.status == Status::Disabled {
        return Err(LoginForbidden::Disabled);
    }
    if user.expiration_date != 0 && user.expiration_date <= attempt.wall_ms {
        return Err(LoginForbidden::Expired);
    }
    if !address_allowed(&user.filters, attempt.address) {
        return Err(LoginForbidden::Address);
    }
    if user.filters.denied_login_methods.iter().any(|denied| denied == attempt.method) {
        return Err(LoginForbidden::Method);
    }
    if user.filters.denied_protocols.iter().any(|denied| denied == PROTOCOL) {
        return Err(LoginForbidden::Protocol);
    }
    Ok(())
}

fn address_allowed(filters: &Filters, address: IpAddr) -> bool {
    let address = address.to_canonical();
    let within = |blocks: &[String]| blocks.iter().any(|block| contains(block, address));
    !within(&filters.denied_ip) && (filters.allowed_ip.is_empty() || within(&filters.allowed_ip))
}

/// Whether an address lies in `ADDRESS/BITS` or is `ADDRESS`. What cannot be read contains nothing.
fn contains(block: &str, address: IpAddr) -> bool {
    let (network, bits) = block.split_once('/').map_or((block, None), |(network, bits)| (network, Some(bits)));
    let Ok(network) = network.parse::<IpAddr>() else { return false };
    let width = |address: IpAddr| if address.is_ipv4() { 32 } else { 128 };
    let Ok(bits) = bits.map_or(Ok(width(network)), str::parse::<u32>) else { return false };
    if bits > width(network) || width(network) != width(address) {
        return false;
    }
    let number = |address: IpAddr| match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)) << 96,
        IpAddr::V6(v6) => u128::from(v6),
    };
    let mask = if bits == 0 { 0 } else { u128::MAX << (128 - bits) };
    number(network) & mask == number(address) & mask
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("a test's address")
    }

    #[test]
    fn a_denied_address_inside_an_allowed_block_is_denied() {
        let filters = Filters {
            allowed_ip: vec!["10.0.0.0/8".into()],
            denied_ip: vec!["10.1.2.3/32".into()],
            ..Filters::default()
        };
        assert!(address_allowed(&filters, address("10.1.2.4")));
        assert!(!address_allowed(&filters, address("10.1.2.3")));
        assert!(!address_allowed(&filters, address("11.0.0.1")));
    }

    #[test]
    fn mapped_addresses_are_judged_as_what_they_map() {
        let filters = Filters { allowed_ip: vec!["192.0.2.0/24".into()], ..Filters::default() };
        assert!(address_allowed(&filters, address("::ffff:192.0.2.7")));
        assert!(!address_allowed(&filters, address("2001:db8::1")));
    }

    #[test]
    fn blocks_that_cannot_be_read_contain_nothing() {
        for block in ["", "10.0.0.0/33", "10.0.0/8", "x/8", "10.0.0.0/-1", "10.0.0.0/"] {
            assert!(!contains(block, address("10.0.0.1")), "{block}");
        }
        assert!(contains("0.0.0.0/0", address("203.0.113.9")));
        assert!(contains("2001:db8::/32", address("2001:db8:1::1")));
        assert!(contains("10.0.0.1", address("10.0.0.1")));
    }
}
