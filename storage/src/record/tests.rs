use bytes::BytesMut;
use proptest::prelude::*;

use super::*;
use crate::{Draft, Raw};

/// What a draft holds, owned.
#[derive(Debug, Clone)]
struct Fields {
    kind: Kind,
    priority: u8,
    time: u64,
    expires: Option<u64>,
    due: Option<u64>,
    origin: Option<(u64, u64)>,
    source: Option<(u64, u64)>,
    targets: Vec<u64>,
    envelope: Vec<u8>,
    body: Vec<u8>,
}

fn fields() -> impl Strategy<Value = Fields> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..300);
    let sections = (
        any::<Option<u64>>(),
        any::<Option<u64>>(),
        any::<Option<(u64, u64)>>(),
        any::<Option<(u64, u64)>>(),
    );
    let targets = prop::collection::vec(0_u64..4, 0..9);
    (
        1_u8..=15,
        any::<u8>(),
        any::<u64>(),
        sections,
        targets,
        bytes(),
        bytes(),
    )
        .prop_map(
            |(kind, priority, time, (expires, due, origin, source), targets, envelope, body)| {
                Fields {
                    kind: Kind::from_number(kind).unwrap(),
                    priority,
                    time,
                    expires,
                    due,
                    origin,
                    source,
                    targets,
                    envelope,
                    body,
                }
            },
        )
}

fn salt() -> Salt {
    Salt::new(0x5eed)
}

/// Encodes and stamps; the n-th target gets offset n + 1.
fn stamped(fields: &Fields, lsn: Lsn) -> (BytesMut, usize) {
    let targets: Vec<_> = fields.targets.iter().copied().map(QueueId::new).collect();
    let envelope = Raw(&fields.envelope);
    let draft = Draft {
        priority: fields.priority,
        expires: fields.expires.map(UnixMillis::new),
        due: fields.due.map(UnixMillis::new),
        origin: fields.origin.map(|(session, seq)| Origin {
            session: SessionNo::new(session),
            seq: Seq::new(seq),
        }),
        source: fields.source.map(|(queue, at)| Source {
            queue: QueueId::new(queue),
            offset: Offset::new(at),
        }),
        targets: &targets,
        body: &fields.body,
        ..Draft::new(fields.kind, UnixMillis::new(fields.time), &envelope)
    };
    let mut bytes = BytesMut::new();
    let len = encode(&draft, &mut bytes);
    let mut offset = 0;
    let mut next = |_, _| {
        offset += 1;
        Offset::new(offset)
    };
    stamp(
        &mut bytes[..len],
        Stamps {
            lsn,
            durable: Lsn::new(7),
            salt: salt(),
            offset: &mut next,
        },
    );
    (bytes, len)
}

/// Whether what is found in `bytes`, if anything, lies in them.
fn fits(bytes: &[u8]) -> bool {
    RecordRef::parse(bytes).map_or(true, |record| record.len_bytes() as usize <= bytes.len())
}

proptest! {
    #[test]
    fn what_is_encoded_is_read_back(fields in fields(), lsn in any::<u32>()) {
        let lsn = Lsn::new(u64::from(lsn));
        let (bytes, len) = stamped(&fields, lsn);
        prop_assert_eq!(bytes.len(), padded(len));
        let record = RecordRef::check(&bytes, salt(), lsn).unwrap();
        prop_assert_eq!(record.lsn(), lsn);
        prop_assert_eq!(record.end(), lsn.advance(bytes.len() as u64));
        prop_assert_eq!(record.durable(), Lsn::new(7));
        prop_assert_eq!(record.len_bytes() as usize, len);
        prop_assert_eq!(record.kind(), fields.kind);
        prop_assert_eq!(record.priority(), fields.priority);
        prop_assert_eq!(record.time().get(), fields.time);
        prop_assert_eq!(record.expires().map(UnixMillis::get), fields.expires);
        prop_assert_eq!(record.due().map(UnixMillis::get), fields.due);
        prop_assert_eq!(record.origin().map(|origin| (origin.session.get(), origin.seq.get())), fields.origin);
        prop_assert_eq!(record.source().map(|source| (source.queue.get(), source.offset.get())), fields.source);
        let expected: Vec<_> = fields.targets.iter().zip(1..).map(|(queue, at)| (*queue, at)).collect();
        let targets: Vec<_> = record.targets().map(|(queue, at)| (queue.get(), at.get())).collect();
        prop_assert_eq!(targets, expected);
        prop_assert_eq!(record.envelope(), &fields.envelope);
        prop_assert_eq!(record.body(), &fields.body);
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), lsn in any::<u64>()) {
        prop_assert!(fits(&bytes));
        prop_assert!(RecordRef::check(&bytes, salt(), Lsn::new(lsn)).is_err());
    }

    #[test]
    fn a_record_with_any_field_overwritten_does_not_make_the_parser_panic(
        fields in fields(),
        at in 0_usize..64,
        with in any::<u8>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let (mut bytes, _) = stamped(&fields, Lsn::new(8));
        let at = at % bytes.len();
        bytes[at] = with;
        prop_assert!(fits(&bytes[..cut.index(bytes.len())]));
        prop_assert!(fits(&bytes));
    }

    #[test]
    fn a_record_with_any_bit_flipped_is_refused(fields in fields(), bit in any::<prop::sample::Index>()) {
        let lsn = Lsn::new(4096);
        let (mut bytes, len) = stamped(&fields, lsn);
        let bit = bit.index(len * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(RecordRef::check(&bytes, salt(), lsn).is_err());
    }
}

#[test]
fn a_record_with_another_salt_or_place_is_refused() {
    let fields = Fields {
        kind: Kind::Advance,
        priority: 0,
        time: 0,
        expires: None,
        due: None,
        origin: None,
        source: None,
        targets: Vec::new(),
        envelope: Vec::new(),
        body: Vec::new(),
    };
    let lsn = Lsn::new(4096);
    let (bytes, _) = stamped(&fields, lsn);
    assert!(RecordRef::check(&bytes, salt(), lsn).is_ok());
    assert_eq!(
        RecordRef::check(&bytes, Salt::new(1), lsn),
        Err(Damage::Checksum)
    );
    assert_eq!(
        RecordRef::check(&bytes, salt(), Lsn::new(4104)),
        Err(Damage::Lsn(lsn))
    );
}

#[test]
fn an_unknown_kind_or_flag_is_told_from_damage() {
    let mut bytes = segment_end(Lsn::new(8), Lsn::new(8), salt());
    for (at, with, what) in [
        (32, 16, Damage::Kind(16)),
        (32, 0, Damage::Kind(0)),
        (33, 16, Damage::Flags(16)),
        (35, 1, Damage::Flags(1)),
    ] {
        let before = bytes;
        bytes[at] = with;
        assert_eq!(RecordRef::parse(&bytes), Err(what));
        assert!(what.is_newer());
        bytes = before;
    }
}
