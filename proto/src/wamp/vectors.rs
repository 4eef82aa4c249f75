//! Round trips.
use super::*;
use bytes::{Bytes, BytesMut};

#[test]
fn a_publish_goes_round() {
    for serializer in Serializer::ALL {
        let payload = Payload::from_values(
            serializer,
            &[
                Value::from("a\u{0}b\"é\n"),
                Value::from(-5),
                Value::from(1.5),
                Value::Null,
                Value::from(true),
                Value::from(Bytes::from_static(b"\x00\xff")),
                Value::from(u64::MAX),
                Value::from(vec![Value::from(Dict::new())]),
            ],
            &Dict::new().with(
                "k",
                vec![Value::from(300), Value::from(70000), Value::from(-40000)],
            ),
        )
        .unwrap();
        let message = Message::Publish {
            request: 1 << 53,
            options: Dict::new().with("acknowledge", true),
            topic: "com.x".into(),
            payload: payload.clone(),
        };
        let mut out = BytesMut::new();
        encode(serializer, &message, &mut out).unwrap();
        eprintln!("{serializer:?} {:?}", out);
        let read = decode(serializer, &out.freeze(), &Limits::default()).unwrap();
        assert_eq!(read, message);
        for other in Serializer::ALL {
            let there = payload.to(other).unwrap().into_owned();
            assert_eq!(
                there.args().unwrap(),
                payload.args().unwrap(),
                "{serializer:?} {other:?}"
            );
            assert_eq!(there.kwargs().unwrap(), payload.kwargs().unwrap());
            let back = there.to(serializer).unwrap();
            assert_eq!(*back, payload);
        }
    }
}
