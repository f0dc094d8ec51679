//! The codec against russh-sftp's types and against arbitrary bytes.

use bytes::Bytes;
use flotilla_session::{OpenFlags, SetStat};
use flotilla_sftp::codec::{Assembler, Request, parse, reply};
use proptest::prelude::*;
use russh_sftp::protocol::{self as theirs, FileAttributes, Packet};

use crate::fixtures::gated::some_stat;

fn encode(packet: Packet) -> Bytes {
    Bytes::try_from(packet).unwrap().slice(4..)
}

fn decode(reply: Bytes) -> Packet {
    Packet::try_from(&mut reply.slice(4..)).unwrap()
}

fn attributes() -> impl Strategy<Value = FileAttributes> {
    let pair = || proptest::option::of(any::<(u32, u32)>());
    (proptest::option::of(any::<u64>()), pair(), proptest::option::of(any::<u32>()), pair()).prop_map(
        |(size, owner, permissions, times)| FileAttributes {
            size,
            uid: owner.map(|owner| owner.0),
            gid: owner.map(|owner| owner.1),
            permissions,
            atime: times.map(|times| times.0),
            mtime: times.map(|times| times.1),
            ..FileAttributes::empty()
        },
    )
}

fn ours(attributes: &FileAttributes) -> SetStat {
    SetStat {
        size: attributes.size,
        mode: attributes.permissions.map(|mode| mode & !0o170_000),
        owner: attributes.uid.zip(attributes.gid),
        times: attributes.atime.zip(attributes.mtime).map(|(atime, mtime)| (atime.into(), mtime.into())),
    }
}

proptest! {
    #[test]
    fn what_their_client_encodes_is_understood(
        id: u32, path in "\\PC{0,40}", other in "\\PC{0,40}", offset: u64, length: u32,
        data in proptest::collection::vec(any::<u8>(), 0..200), bits in 0u32..64, attrs in attributes(),
    ) {
        let wanted = ours(&attrs);
        let (name, second) = (path.as_bytes(), other.as_bytes());
        let bytes = encode(theirs::Open {
            id, filename: path.clone(), pflags: theirs::OpenFlags::from_bits_retain(bits), attrs: attrs.clone(),
        }.into());
        let flag = |bit: u32| bits & bit != 0;
        let flags = OpenFlags {
            read: flag(1), write: flag(2), append: flag(4), create: flag(8), truncate: flag(16), exclusive: flag(32),
        };
        prop_assert_eq!(parse(&bytes), Ok(Request::Open { id, path: name, flags, attributes: wanted }));
        let bytes = encode(theirs::Read { id, handle: path.clone(), offset, len: length }.into());
        prop_assert_eq!(parse(&bytes), Ok(Request::Read { id, handle: name, offset, length }));
        let bytes = encode(theirs::Write { id, handle: path.clone(), offset, data: data.clone() }.into());
        prop_assert_eq!(parse(&bytes), Ok(Request::Write { id, handle: name, offset, data: &data }));
        let bytes = encode(theirs::Rename { id, oldpath: path.clone(), newpath: other.clone() }.into());
        prop_assert_eq!(parse(&bytes), Ok(Request::Rename { id, from: name, to: second }));
        let bytes = encode(theirs::SetStat { id, path: path.clone(), attrs }.into());
        prop_assert_eq!(parse(&bytes), Ok(Request::SetStat { id, path: name, attributes: wanted }));
    }

    #[test]
    fn what_we_answer_is_understood_by_their_client(id: u32, text in "\\PC{0,40}", data in proptest::collection::vec(any::<u8>(), 1..200)) {
        match decode(reply::status(id, 4, &text)) {
            Packet::Status(status) => {
                prop_assert_eq!((status.id, status.error_message, status.language_tag), (id, text.clone(), "en".to_owned()));
            }
            other => prop_assert!(false, "{other:?}"),
        }
        match decode(reply::data(id, &data)) {
            Packet::Data(told) => prop_assert_eq!((told.id, told.data.to_vec()), (id, data)),
            other => prop_assert!(false, "{other:?}"),
        }
        match decode(reply::one_name(id, text.as_bytes())) {
            Packet::Name(name) => prop_assert_eq!(&name.files[0].filename, &text),
            other => prop_assert!(false, "{other:?}"),
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(&bytes);
        let mut assembler = Assembler::default();
        let mut input = &bytes[..];
        while let Ok(Some(frame)) = assembler.next(&mut input) {
            let _ = parse(frame.bytes());
        }
    }

    #[test]
    fn every_request_type_survives_lying_lengths(
        kind in prop_oneof![1u8..=20, Just(200)], id: u32,
        fields in proptest::collection::vec(prop_oneof![any::<u32>(), 0u32..20, Just(u32::MAX)], 0..20),
    ) {
        let mut bytes = vec![kind];
        bytes.extend(id.to_be_bytes());
        bytes.extend(fields.iter().flat_map(|field| field.to_be_bytes()));
        match parse(&bytes) {
            Ok(_) => {}
            Err(malformed) => prop_assert_eq!(malformed.id, Some(id)),
        }
        for end in 0..bytes.len() {
            let _ = parse(&bytes[..end]);
        }
    }
}

#[test]
fn extended_attributes_are_skipped_and_a_lying_count_ends_with_the_packet() {
    let mut bytes = 0x8000_0004u32.to_be_bytes().to_vec();
    bytes.extend(0o100_640u32.to_be_bytes());
    bytes.extend(1u32.to_be_bytes());
    bytes.extend(b"\0\0\0\x01a\0\0\0\x02bc");
    let wanted = SetStat { mode: Some(0o640), ..SetStat::default() };
    assert_eq!(flotilla_sftp::codec::read_attributes(&bytes), Ok(wanted));
    bytes[8..12].copy_from_slice(&u32::MAX.to_be_bytes());
    assert!(flotilla_sftp::codec::read_attributes(&bytes).is_err());
}

#[test]
fn attributes_and_listings_are_read_by_their_client_as_meant() {
    let stat = some_stat();
    match decode(reply::attributes(1, &stat)) {
        Packet::Attrs(attrs) => {
            assert_eq!((attrs.attrs.size, attrs.attrs.permissions), (Some(1), Some(0o100_644)));
        }
        other => panic!("{other:?}"),
    }
    let mut names = reply::Names::new(1, 0);
    names.push(b"one", &stat);
    names.push(b"two", &stat);
    match decode(names.finish()) {
        Packet::Name(name) => {
            assert_eq!(name.files.iter().map(|file| &file.filename[..]).collect::<Vec<_>>(), ["one", "two"]);
            assert!(name.files[0].longname.ends_with(" one"));
        }
        other => panic!("{other:?}"),
    }
    match decode(reply::version()) {
        Packet::Version(version) => assert_eq!((version.version, version.extensions.len()), (3, 5)),
        other => panic!("{other:?}"),
    }
}
