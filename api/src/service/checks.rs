//! What is checked of a user's fields before it is proposed. Every refusal names its field; apply checks again, for all proposers.

use std::collections::BTreeMap;

use flotilla_model::{Filters, Permission, Status};

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

fn networks(field: &str, given: &[String]) -> Result<(), ApiError> {
    match given.iter().find(|text| !is_network(text)) {
        Some(text) => {
            Err(ApiError::field(field, format_args!("{text:?} is neither an address nor a network like 192.0.2.0/24")))
        }
        None => Ok(()),
    }
}

/// An address or a CIDR network.
fn is_network(text: &str) -> bool {
    let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
    let Ok(address) = address.parse::<std::net::IpAddr>() else { return false };
    let longest = if address.is_ipv4() { 32 } else { 128 };
    prefix.is_none_or(|prefix| prefix.parse::<u8>().is_ok_and(|prefix| prefix <= longest))
}
