//! Both versions, whole, in pieces, and as garbage.

use super::*;

fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = v2::SIGNATURE.to_vec();
    bytes.extend([command, family]);
    bytes.extend(u16::try_from(body.len()).expect("short").to_be_bytes());
    bytes.extend(body);
    bytes
}

fn client() -> Said {
    Said::Proxied {
        source: "203.0.113.7:54321".parse().expect("an address"),
        destination: "192.0.2.1:22".parse().expect("an address"),
    }
}

const V4_BODY: [u8; 12] = [203, 0, 113, 7, 192, 0, 2, 1, 0xd4, 0x31, 0, 22];

#[test]
fn the_address_in_a_line_is_the_clients() {
    let line = b"PROXY TCP4 203.0.113.7 192.0.2.1 54321 22\r\n";
    assert_eq!(parse(line), Ok(Some((client(), line.len()))));
    let six = b"PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n";
    assert!(matches!(parse(six), Ok(Some((Said::Proxied { source, .. }, _))) if source.is_ipv6()));
}

#[test]
fn the_address_in_a_binary_header_is_the_clients_and_tlvs_are_skipped() {
    let mut body = V4_BODY.to_vec();
    body.extend([0x03, 0, 4, 1, 2, 3, 4]);
    let bytes = v2(0x21, 0x11, &body);
    assert_eq!(parse(&bytes), Ok(Some((client(), bytes.len()))));
    let mut six = [0u8; 36];
    six[15] = 1;
    assert!(matches!(parse(&v2(0x21, 0x21, &six)), Ok(Some((Said::Proxied { source, .. }, _))) if source.is_ipv6()));
}

#[test]
fn health_checks_and_unknown_families_keep_the_connections_own_addresses() {
    for bytes in [
        b"PROXY UNKNOWN\r\n".to_vec(),
        b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(),
        v2(0x20, 0x00, &[]),
        v2(0x20, 0x11, &V4_BODY),
        v2(0x21, 0x00, &[]),
        v2(0x21, 0x31, &[0; 216]),
        v2(0x21, 0x12, &V4_BODY),
    ] {
        assert_eq!(parse(&bytes), Ok(Some((Said::Own, bytes.len()))));
    }
}

#[test]
fn what_follows_the_header_is_left_to_the_client() {
    let mut bytes = v2(0x21, 0x11, &V4_BODY);
    let header = bytes.len();
    bytes.extend(b"SSH-2.0-OpenSSH\r\n");
    assert_eq!(parse(&bytes), Ok(Some((client(), header))));
}

#[test]
fn damaged_headers_are_refused() {
    for bytes in [
        b"SSH-2.0-OpenSSH\r\n".to_vec(),
        b"PROXY TCP4 203.0.113.7 192.0.2.1 54321\r\n".to_vec(),
        b"PROXY TCP4 2001:db8::1 192.0.2.1 54321 22\r\n".to_vec(),
        b"PROXY TCP4 203.0.113.7 192.0.2.1 +1 22\r\n".to_vec(),
        b"PROXY TCP4 203.0.113.7 192.0.2.1 65536 22\r\n".to_vec(),
        b"PROXY TCP4  203.0.113.7 192.0.2.1 1 22\r\n".to_vec(),
        b"PROXY UDP4 203.0.113.7 192.0.2.1 1 22\r\n".to_vec(),
        [b"PROXY ".to_vec(), vec![b'x'; 200]].concat(),
        b"PROXY \xff\r\n".to_vec(),
        v2(0x11, 0x11, &V4_BODY),
        v2(0x22, 0x11, &V4_BODY),
        v2(0x21, 0x11, &V4_BODY[..11]),
        v2(0x21, 0x21, &[0; 35]),
        v2(0x21, 0x11, &[0; 5000]),
    ] {
        assert!(parse(&bytes).is_err(), "{}", bytes.escape_ascii());
    }
}

#[test]
fn a_header_in_pieces_asks_for_more_until_it_is_whole() {
    for whole in [b"PROXY TCP4 203.0.113.7 192.0.2.1 54321 22\r\n".to_vec(), v2(0x21, 0x11, &V4_BODY)] {
        for cut in 0..whole.len() {
            assert_eq!(parse(&whole[..cut]), Ok(None), "after {cut} bytes");
        }
    }
}

/// A small generator, so that a failure repeats.
fn next(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

#[test]
fn no_garbage_panics_and_no_answer_takes_more_than_there_is() {
    let mut seed = 0x5eed_cafe_u64;
    let starts: [&[u8]; 4] = [b"", v1::SIGNATURE, v2::SIGNATURE, b"PROXY TCP4 1.2.3.4 "];
    for round in 0..200_000 {
        let mut bytes = starts[round % starts.len()].to_vec();
        for _ in 0..next(&mut seed) % 40 {
            let byte = (next(&mut seed) >> 24) as u8;
            bytes.push(if round % 3 == 0 { b"0123456789. :\r\n!"[usize::from(byte) % 16] } else { byte });
        }
        if let Ok(Some((_, used))) = parse(&bytes) {
            assert!(used <= bytes.len());
        }
    }
}

/// Damaged headers: an answer for each, within the bounds of a header, and never a panic.
#[test]
fn damaged_headers_are_refused_or_wait_for_a_bounded_rest() {
    let mut state = 0x5eed_u64;
    let mut random = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    let good: [Vec<u8>; 4] = [
        b"PROXY TCP4 203.0.113.7 192.0.2.1 54321 22\r\nSSH-2.0-x\r\n".to_vec(),
        b"PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n".to_vec(),
        v2(0x21, 0x11, &V4_BODY),
        v2(0x21, 0x21, &[7; 36]),
    ];
    let (mut taken, mut refused, mut waits) = (0, 0, 0);
    for _ in 0..100_000 {
        let mut bytes = good[random() % good.len()].clone();
        for _ in 0..1 + random() % 4 {
            let at = random() % bytes.len().max(1);
            match random() % 4 {
                0 => bytes.truncate(at + 1),
                1 => bytes.insert(at.min(bytes.len()), random() as u8),
                _ => bytes[at] = random() as u8,
            }
        }
        match parse(&bytes) {
            Ok(Some((_, used))) => {
                assert!(used <= bytes.len() && used <= MAX_HEADER);
                taken += 1;
            }
            Ok(None) => {
                // More bytes decide within the longest header.
                bytes.resize(MAX_HEADER, b'x');
                assert!(!matches!(parse(&bytes), Ok(None)), "{bytes:?} waits for ever");
                waits += 1;
            }
            Err(_) => refused += 1,
        }
    }
    assert!(taken > 1_000 && refused > 1_000 && waits > 1_000, "all happen: {taken} {refused} {waits}");
}
