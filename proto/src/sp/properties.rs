//! What holds of any header, any path and any bytes.

use std::num::NonZeroU16;

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;

use super::escape::decoded;
use super::fragments::cut;
use super::*;

/// Characters that a path cares about, and some others.
const TELLING: &str = "[a-c/+#%$~.:;?&= é😀\u{1}-\u{1F}\u{7F}]{0,6}";

proptest! {
    #[test]
    fn what_is_written_is_read_as_itself(
        id in any::<u32>(),
        channels in vec(any::<u32>(), 0..12),
        body in any_body(),
        names in vec(TELLING, 1..6),
        is_brokers in any::<bool>(),
    ) {
        let mut stack = Stack::of(id);
        for channel in channels.iter().rev() {
            stack = stack.behind(*channel);
        }
        let n_words = u8::try_from(channels.len() + 1).unwrap();
        let message = joined(&stack.to_bytes(), &body);
        prop_assert_eq!(Stack::split(&message, n_words), Ok((stack, body.clone())));
        let too_deep = Stack::split(&message, n_words - 1);
        prop_assert_eq!(too_deep, Err(HeaderError::TooDeep { max: n_words - 1 }));

        let mut hops = Hops::FIRST;
        for _ in &channels {
            hops = hops.next(u8::MAX).unwrap();
        }
        let message = joined(&hops.to_bytes(), &body);
        prop_assert_eq!(Hops::split(&message, hops.number()), Ok((hops, body)));

        if let Some(name) = Name::new(names, is_brokers) {
            check_path(&name)?;
        }
    }

    #[test]
    fn fragments_are_the_message_and_none_is_too_long(
        header in vec(any::<u8>(), 0..9),
        body in any_body(),
        bytes_max in 9..40_usize,
    ) {
        let frames: Vec<Fragment> = cut(&header, body.clone(), bytes_max).collect();
        let payloads = frames.iter().flat_map(|it| it.payload.to_vec());
        prop_assert_eq!(payloads.collect::<Bytes>(), joined(&header, &body));
        let n_frames = (header.len() + body.len()).div_ceil(bytes_max).max(1);
        prop_assert_eq!(frames.len(), n_frames);
        for (n, frame) in frames.iter().enumerate() {
            prop_assert!(frame.payload.len() <= bytes_max);
            prop_assert_eq!(frame.is_first, n == 0);
            prop_assert_eq!(frame.is_last, n + 1 == n_frames);
        }
    }

    #[test]
    fn a_body_is_a_slice_of_its_message(id in any::<u32>(), body in any_body()) {
        let message = joined(&Stack::of(id).to_bytes(), &body);
        let (_, split) = Stack::split(&message, HOPS_MAX).unwrap();
        prop_assert_eq!(split.as_ptr_range().end, message.as_ptr_range().end);
        let message = joined(&Hops::FIRST.to_bytes(), &body);
        let (_, split) = Hops::split(&message, HOPS_MAX).unwrap();
        prop_assert_eq!(split.as_ptr_range().end, message.as_ptr_range().end);
        // What is sent without a header is sent as it is, and so is all behind the first frame.
        let mut at = body.as_ptr();
        for frame in cut(b"", body, 16) {
            prop_assert_eq!(frame.payload.as_ptr(), at);
            at = frame.payload.as_ptr_range().end;
        }
    }

    #[test]
    fn no_bytes_make_the_readers_panic(
        bytes in prop_oneof![vec(any::<u8>(), 0..64), vec(0..2_u8, 0..64)],
        words_max in any::<u8>(),
        text in any::<String>(),
        target in "/sp/[a-b/+#%$~.?&=é\u{0}-\u{20}0-9A-F]{0,12}",
        query in "(durable|prefix|last|settle|side|credit|x)(=[a-b0-9%+]{0,4})?(&[a-z=&]{0,9})?",
    ) {
        let message = Bytes::from(bytes);
        if let Ok((stack, body)) = Stack::split(&message, words_max) {
            prop_assert!(stack.words().len() <= usize::from(words_max));
            prop_assert_eq!(joined(&stack.to_bytes(), &body), message.clone());
        }
        if let Ok((hops, body)) = Hops::split(&message, words_max) {
            prop_assert_eq!(joined(&hops.to_bytes(), &body), message.clone());
        }
        if let Offer::Unknown { token } = offered([text.as_str()]) {
            prop_assert!(token.is_ascii() && token.len() <= TOKEN_BYTES_MAX);
        }
        for target in [&message[..], text.as_bytes(), target.as_bytes()] {
            if let Ok(target) = Target::parse(target) {
                check_path(&target.name)?;
            }
        }
        for client in Role::ALL {
            for query in [&message[..], text.as_bytes(), query.as_bytes()] {
                check_options(Options::parse(query, client))?;
            }
        }
    }
}

/// A name is the same by its path, as it is written and as nng sends that: with what is beyond ASCII unescaped.
fn check_path(name: &Name) -> Result<(), TestCaseError> {
    let path = name.path();
    prop_assert_eq!(&Target::parse(path.as_bytes()).unwrap().name, name);
    let mut rewritten = Vec::new();
    for (n, part) in path.split('%').enumerate() {
        let escaped = format!("%{part}");
        match decoded(escaped.as_bytes()) {
            _ if n == 0 => rewritten.extend(part.bytes()),
            Ok(bytes) if !bytes[0].is_ascii() => rewritten.extend(bytes),
            _ => rewritten.extend(escaped.bytes()),
        }
    }
    prop_assert_eq!(&Target::parse(&rewritten).unwrap().name, name);
    Ok(())
}

/// What was read is within the limits, and an error's text is short.
fn check_options(options: Result<Options, OptionsError>) -> Result<(), TestCaseError> {
    match options {
        Ok(options) => {
            prop_assert!(
                options
                    .durable
                    .is_none_or(|it| it.len() <= DURABLE_BYTES_MAX)
            );
            prop_assert!(options.prefixes.len() <= PREFIXES_MAX);
            prop_assert!(
                options
                    .prefixes
                    .iter()
                    .all(|it| it.len() <= PREFIX_BYTES_MAX)
            );
            prop_assert!(options.credit.map_or(0, NonZeroU16::get) <= CREDIT_MAX);
        }
        Err(error) => prop_assert!(error.to_string().len() < 512),
    }
    Ok(())
}

fn any_body() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..120).prop_map(Bytes::from)
}

fn joined(header: &[u8], body: &[u8]) -> Bytes {
    let mut message = BytesMut::from(header);
    message.extend_from_slice(body);
    message.freeze()
}
