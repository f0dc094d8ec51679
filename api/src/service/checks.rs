//! What is checked of a user's fields before it is proposed. Every refusal names its field; apply checks again, for all proposers.

use std::collections::BTreeMap;
use std::net::IpAddr;

use flotilla_model::{Filters, MemberOf, Membership, Name, Permission, Status};

use crate::access::PERMISSIONS;
use crate::error::ApiError;

/// SFTPGo's bound: a positive 32-bit number.
const MAX_ID: u32 = i32::MAX as u32;
const LOGIN_METHODS: [&str; 2] = ["password", "publickey"];
const PROTOCOLS: [&str; 3] = ["SSH", "FTP", "HTTP"];

pub(crate) fn status(number: u32) -> Result<Status, ApiError> {
    match number {
        0 => Ok(Status::Disabled),
        1 => Ok(Status::Enabled),
        other => Err(ApiError::field("status", format_args!("{other} is neither 0 (disabled) nor 1 (enabled)"))),
    }
}

pub(crate) fn id(field: &str, number: u32) -> Result<u32, ApiError> {
    if number > MAX_ID {
        return Err(ApiError::field(field, format_args!("{number} is more than {MAX_ID}")));
    }
    Ok(number)
}

pub(crate) fn public_keys(lines: Vec<String>) -> Result<Vec<String>, ApiError> {
    for (position, line) in lines.iter().enumerate() {
        flotilla_auth::PublicKey::parse_line(line)
            .map_err(|error| ApiError::field("public_keys", format_args!("key {}: {error}", position + 1)))?;
    }
    Ok(lines)
}

pub(crate) fn permissions(named: BTreeMap<String, Vec<String>>) -> Result<BTreeMap<String, Vec<Permission>>, ApiError> {
    if !named.contains_key("/") {
        return Err(ApiError::field("permissions", "those for \"/\" are missing, for example {\"/\": [\"*\"]}"));
    }
    let parse = |path: &str, name: &str| {
        let unknown = || ApiError::field("permissions", format_args!("{path}: {name:?} is no permission"));
        Permission::parse(name).ok_or_else(unknown)
    };
    let row = |(path, names): (String, Vec<String>)| {
        let held = names.iter().map(|name| parse(&path, name)).collect::<Result<_, _>>()?;
        Ok((path, held))
    };
    named.into_iter().map(row).collect()
}

pub(crate) fn filters(filters: Filters) -> Result<Filters, ApiError> {
    networks("filters.allowed_ip", &filters.allowed_ip)?;
    networks("filters.denied_ip", &filters.denied_ip)?;
    one_of("filters.denied_login_methods", &filters.denied_login_methods, &LOGIN_METHODS)?;
    one_of("filters.denied_protocols", &filters.denied_protocols, &PROTOCOLS)?;
    Ok(filters)
}

fn one_of(field: &str, given: &[String], known: &[&str]) -> Result<(), ApiError> {
    match given.iter().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(ApiError::field(field, format_args!("{name:?} is none of {}", known.join(", ")))),
        None => Ok(()),
    }
}

pub(crate) fn networks(field: &str, given: &[String]) -> Result<(), ApiError> {
    match given.iter().find(|text| !is_network(text)) {
        Some(text) => {
            Err(ApiError::field(field, format_args!("{text:?} is neither an address nor a network like 192.0.2.0/24")))
        }
        None => Ok(()),
    }
}

/// An address or a CIDR network.
fn is_network(text: &str) -> bool {
    network(text).is_some()
}

/// Address and length of the prefix.
fn network(text: &str) -> Option<(IpAddr, u32)> {
    let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
    let address: IpAddr = address.parse().ok()?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let prefix = prefix.map_or(Some(longest), |prefix| prefix.parse().ok())?;
    (prefix <= longest).then_some((address, prefix))
}

/// Whether an address lies in a network; what is no network holds none.
pub(crate) fn contains(text: &str, ip: IpAddr) -> bool {
    let shifted = |bits: u128, width: u32, prefix: u32| bits.checked_shr(width - prefix).unwrap_or(0);
    match (network(text), ip.to_canonical()) {
        (Some((IpAddr::V4(net), prefix)), IpAddr::V4(ip)) => {
            shifted(u32::from(net).into(), 32, prefix) == shifted(u32::from(ip).into(), 32, prefix)
        }
        (Some((IpAddr::V6(net), prefix)), IpAddr::V6(ip)) => {
            shifted(net.into(), 128, prefix) == shifted(ip.into(), 128, prefix)
        }
        _ => false,
    }
}

/// SFTPGo's names; none is not enough.
pub(crate) fn admin_permissions(given: &[String]) -> Result<(), ApiError> {
    if given.is_empty() {
        return Err(ApiError::field("permissions", "none given; \"*\" is all"));
    }
    one_of("permissions", given, &PERMISSIONS)
}

/// A group of a user; SFTPGo's `type`.
pub(crate) fn memberships(given: &[(String, u32)]) -> Result<Vec<MemberOf>, ApiError> {
    let parse = |(name, kind): &(String, u32)| {
        let group = Name::parse(name).map_err(|error| ApiError::field("groups", format_args!("{name:?}: {error}")))?;
        let membership = match kind {
            1 => Membership::Primary,
            2 => Membership::Secondary,
            3 => Membership::Plain,
            other => {
                let why = format_args!("{name}: type {other} is none of 1 (primary), 2 (secondary), 3 (membership)");
                return Err(ApiError::field("groups", why));
            }
        };
        Ok(MemberOf { group, membership })
    };
    given.iter().map(parse).collect()
}

/// Forms in which SFTPGo takes a password for a hash, beside argon2id's.
const OTHER_HASHES: [&str; 13] = [
    "$2a$",
    "$pbkdf2-sha1$",
    "$pbkdf2-sha256$",
    "$pbkdf2-sha512$",
    "$pbkdf2-b64salt-sha256$",
    "$1$",
    "$apr1$",
    "{MD5}",
    "{SHA256}",
    "{SHA512}",
    "$5$",
    "$6$",
    "$y$",
];

/// Whether a password is a hash. One that cannot be verified here would lock the user out.
pub(crate) fn is_hash(password: &str) -> Result<bool, ApiError> {
    if password.starts_with("$argon2id$") {
        flotilla_auth::password::check_hash(password).map_err(|error| ApiError::field("password", error))?;
        return Ok(true);
    }
    match OTHER_HASHES.iter().find(|prefix| password.starts_with(**prefix)) {
        Some(prefix) => {
            let why = format_args!("begins with {prefix}, a kind of hash that is not verified in this version");
            Err(ApiError::field("password", why))
        }
        None => Ok(false),
    }
}

/// A name that may be left empty.
pub(crate) fn optional_name(field: &str, text: &str) -> Result<Option<Name>, ApiError> {
    if text.is_empty() {
        return Ok(None);
    }
    Name::parse(text).map(Some).map_err(|error| ApiError::field(field, error.reason))
}

/// SHA-256 of a secret that the caller made.
pub(crate) fn hash(bytes: &[u8]) -> Result<[u8; 32], ApiError> {
    bytes.try_into().map_err(|_| ApiError::field("hash", "not 32 bytes: the SHA-256 of the secret"))
}
