//! Which fields each verb has: one listing for reading and writing, shared by both bindings.
//!
//! ```text
//! text line ────┐                              ┌──▶ text line
//!               ├─▶ Value ─▶ Layout ─▶ Sink ───┤
//! protobuf ─────┘          (a frame)           └──▶ protobuf
//! ```
//!
//! A binding knows how a number or a string looks on its wire ([`Value`], [`Sink`]); a frame knows which of its fields is
//! which ([`Layout`]). Fields are written in ascending order of their numbers, so a frame has one encoding in each binding.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::field::{Field, FieldSet, Verb};
use super::{
    Accept, Body, Cancel, Close, Code, Confirm, Consume, Credit, DecodeError, Deliver, ErrorFrame,
    Frame, Hold, MessageFields, Mode, Open, Opened, Ranges, Role, Send, Settle, SettleMode,
};

/// A field's value as it stands on the wire.
pub(super) trait Value<'a>: Sized {
    /// Which field this is the value of.
    fn field(&self) -> Field;
    /// As a string, with the binding's escapes undone.
    fn text(self) -> Result<Cow<'a, str>, DecodeError>;
    /// As a number from 0 to `last`.
    fn number(self, last: u64) -> Result<u64, DecodeError>;
    fn flag(self) -> Result<bool, DecodeError>;
    fn word<W: Word>(self) -> Result<W, DecodeError>;
    fn ranges(self) -> Result<Ranges, DecodeError>;
    /// As one property, put into `properties`.
    fn property(self, properties: &mut BTreeMap<String, String>) -> Result<(), DecodeError>;
    /// As one (binary) or all (text) of a confirm's failures, put behind `failed`.
    fn failures(self, failed: &mut Vec<(u64, Code)>) -> Result<(), DecodeError>;

    fn string(self) -> Result<String, DecodeError> {
        Ok(self.text()?.into_owned())
    }

    fn u64(self) -> Result<u64, DecodeError> {
        self.number(u64::MAX)
    }

    fn u32(self) -> Result<u32, DecodeError> {
        let bad = bad_value(self.field());
        u32::try_from(self.number(u64::from(u32::MAX))?).map_err(|_| bad)
    }

    /// As a place in the count of sequenced frames, which begins with 1.
    fn seq(self) -> Result<u64, DecodeError> {
        let bad = bad_value(self.field());
        match self.u64()? {
            0 => Err(bad),
            seq => Ok(seq),
        }
    }

    fn priority(self) -> Result<u8, DecodeError> {
        let bad = bad_value(self.field());
        u8::try_from(self.number(9)?).map_err(|_| bad)
    }

    fn code(self) -> Result<Code, DecodeError> {
        let bad = bad_value(self.field());
        Code::parse(&self.text()?).ok_or(bad)
    }

    fn from(self) -> Result<super::From, DecodeError> {
        let bad = bad_value(self.field());
        super::From::parse(&self.text()?).ok_or(bad)
    }
}

/// Where fields are written to. Nothing is written for an absent option, a false flag or empty ranges.
pub(super) trait Sink {
    fn text(&mut self, field: Field, text: &str);
    fn number(&mut self, field: Field, number: u64);
    /// Writes the flag, false too.
    fn flag(&mut self, field: Field, flag: bool);
    fn word<W: Word>(&mut self, field: Field, word: W);
    fn ranges(&mut self, field: Field, ranges: &Ranges);
    fn properties(&mut self, properties: &BTreeMap<String, String>);
    fn failures(&mut self, failed: &[(u64, Code)]);
    /// Writes what the header says of `body`, not the body.
    fn body(&mut self, body: &Body);

    fn text_if(&mut self, field: Field, text: &Option<String>) {
        if let Some(text) = text {
            self.text(field, text);
        }
    }

    fn number_if<N: Into<u64>>(&mut self, field: Field, number: Option<N>) {
        if let Some(number) = number {
            self.number(field, number.into());
        }
    }

    fn flag_if(&mut self, field: Field, flag: bool) {
        if flag {
            self.flag(field, true);
        }
    }

    /// Writes `word` unless it is its type's default.
    fn word_if<W: Word>(&mut self, field: Field, word: W) {
        if word != W::default() {
            self.word(field, word);
        }
    }
}

/// A closed set of words: in text the word, in binary its place in `ALL`.
pub(super) trait Word: Copy + Default + PartialEq + 'static {
    const ALL: &'static [Self];
    fn as_str(self) -> &'static str;

    fn from_str(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|word| word.as_str() == text)
    }

    fn number(self) -> u64 {
        let place = Self::ALL.iter().position(|word| *word == self);
        place.map_or(0, |place| place as u64)
    }

    fn from_number(number: u64) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }
}

macro_rules! words {
    ($($word:ident: $($arm:ident),+;)*) => {
        $(impl Word for $word {
            const ALL: &'static [Self] = &[$($word::$arm),+];
            fn as_str(self) -> &'static str {
                $word::as_str(self)
            }
        })*
    };
}

words! {
    Role: Client, Broker;
    Accept: Both, Text, Binary;
    Mode: Queue, Topic, Browse, Replay;
    SettleMode: Explicit, Auto;
}

/// A verb's fields.
pub(super) trait Layout: Default {
    const VERB: Verb;
    const REQUIRED: FieldSet;

    /// Takes in one field; one that this verb does not have is left aside.
    fn set<'a>(&mut self, field: Field, value: impl Value<'a>) -> Result<(), DecodeError>;

    /// Writes all fields, in ascending order of their numbers.
    fn put(&self, sink: &mut impl Sink);

    /// The body, for verbs that have one.
    fn body(&self) -> Option<&Body> {
        None
    }

    /// The body, for verbs that have one.
    fn body_mut(&mut self) -> Option<&mut Body> {
        None
    }
}

/// Reads the rest of a frame, its verb being known.
pub(super) trait Read {
    fn read<L: Layout>(self) -> Result<L, DecodeError>;
}

/// Reads a frame of `verb`.
pub(super) fn read_frame(verb: Verb, from: impl Read) -> Result<Frame, DecodeError> {
    Ok(match verb {
        Verb::Open => Frame::Open(from.read()?),
        Verb::Opened => Frame::Opened(from.read()?),
        Verb::Hold => Frame::Hold(from.read()?),
        Verb::Send => Frame::Send(Box::new(from.read()?)),
        Verb::Consume => Frame::Consume(from.read()?),
        Verb::Credit => Frame::Credit(from.read()?),
        Verb::Settle => Frame::Settle(from.read()?),
        Verb::Cancel => Frame::Cancel(from.read()?),
        Verb::Confirm => Frame::Confirm(from.read()?),
        Verb::Deliver => Frame::Deliver(Box::new(from.read()?)),
        Verb::Error => Frame::Error(from.read()?),
        Verb::Close => Frame::Close(from.read()?),
    })
}

/// Writes a whole frame of one verb.
pub(super) trait Write {
    fn write<L: Layout>(self, frame: &L);
}

/// Writes `frame`.
pub(super) fn write_frame(frame: &Frame, to: impl Write) {
    match frame {
        Frame::Open(open) => to.write(open),
        Frame::Opened(opened) => to.write(opened),
        Frame::Hold(hold) => to.write(hold),
        Frame::Send(send) => to.write(&**send),
        Frame::Consume(consume) => to.write(consume),
        Frame::Credit(credit) => to.write(credit),
        Frame::Settle(settle) => to.write(settle),
        Frame::Cancel(cancel) => to.write(cancel),
        Frame::Confirm(confirm) => to.write(confirm),
        Frame::Deliver(deliver) => to.write(&**deliver),
        Frame::Error(error) => to.write(error),
        Frame::Close(close) => to.write(close),
    }
}

pub(super) fn bad_value(field: Field) -> DecodeError {
    DecodeError::BadValue {
        field: field.name(),
    }
}

impl Layout for Open {
    const VERB: Verb = Verb::Open;
    const REQUIRED: FieldSet = FieldSet::of(&[Field::Version]);

    fn set<'a>(&mut self, field: Field, value: impl Value<'a>) -> Result<(), DecodeError> {
        match field {
            Field::Version => self.version = value.u32()?,
            Field::Session => self.session = Some(value.string()?),
            Field::Expiry => self.expiry = value.u64()?,
            Field::Name => self.name = Some(value.string()?),
            Field::Role => self.role = value.word()?,
            Field::Accept => self.accept = value.word()?,
            Field::User => self.user = Some(value.string()?),
            Field::Password => self.password = Some(value.string()?),
            Field::Token => self.token = Some(value.string()?),
            Field::Heartbeat => self.heartbeat = Some(value.u32()?),
            _ => {}
        }
        Ok(())
    }

    fn put(&self, sink: &mut impl Sink) {
        sink.number(Field::Version, self.version.into());
        sink.text_if(Field::Session, &self.session);
        if self.expiry != 0 {
            sink.number(Field::Expiry, self.expiry);
        }
        sink.text_if(Field::Name, &self.name);
        sink.word_if(Field::Role, self.role);
        sink.word_if(Field::Accept, self.accept);
        sink.text_if(Field::User, &self.user);
        sink.text_if(Field::Password, &self.password);
        sink.text_if(Field::Token, &self.token);
        sink.number_if(Field::Heartbeat, self.heartbeat);
    }
}

impl Layout for Opened {
    const VERB: Verb = Verb::Opened;
    const REQUIRED: FieldSet = FieldSet::of(&[
        Field::Session,
        Field::Expiry,
        Field::Heartbeat,
        Field::Resumed,
        Field::Confirmed,
        Field::Window,
        Field::MaxFrame,
        Field::Broker,
        Field::Server,
    ]);

    fn set<'a>(&mut self, field: Field, value: impl Value<'a>) -> Result<(), DecodeError> {
        match field {
            Field::Session => self.session = value.string()?,
            Field::Expiry => self.expiry = value.u64()?,
            Field::Heartbeat => self.heartbeat = value.u32()?,
            Field::Resumed => self.resumed = value.flag()?,
            Field::Confirmed => self.confirmed = value.u64()?,
            Field::Window => self.window = value.u32()?,
            Field::MaxFrame => self.max_frame = value.u32()?,
            Field::Broker => self.broker = value.string()?,
            Field::Server => self.server = value.string()?,
            _ => {}
        }
        Ok(())
    }

    fn put(&self, sink: &mut impl Sink) {
        sink.text(Field::Session, &self.session);
        sink.number(Field::Expiry, self.expiry);
        sink.number(Field::Heartbeat, self.heartbeat.into());
        sink.flag(Field::Resumed, self.resumed);
        sink.number(Field::Confirmed, self.confirmed);
        sink.number(Field::Window, self.window.into());
        sink.number(Field::MaxFrame, self.max_frame.into());
        sink.text(Field::Broker, &self.broker);
        sink.text(Field::Server, &self.server);
    }
}

impl Layout for Hold {
    const VERB: Verb = Verb::Hold;
    const REQUIRED: FieldSet = FieldSet::of(&[Field::Consumer]);

    fn set<'a>(&mut self, field: Field, value: impl Value<'a>) -> Result<(), DecodeError> {
        match field {
            Field::Consumer => self.consumer = value.string()?,
            Field::Offsets => self.offsets = value.ranges()?,
            _ => {}
        }
        Ok(())
    }

    fn put(&self, sink: &mut impl Sink) {
        sink.text(Field::Consumer, &self.consumer);
        sink.ranges(Field::Offsets, &self.offsets);
    }
}

impl MessageFields {
    fn set<'a>(&mut self, field: Field, value: impl Value<'a>) -> Result<(), DecodeError> {
        match field {
            Field::MessageId => self.message_id = Some(value.string()?),
            Field::CorrelationId => self.correlation_id = Some(value.string()?),
            Field::ReplyTo => self.reply_to = Some(value.string()?),
            Field::ContentType => self.content_type = Some(value.string()?),
            Field::Key => self.key = Some(value.string()?),
            Field::Priority => self.priority = Some(value.priority()?),
            Field::Property => value.property(&mut self.properties)?,
            _ => {}
        }
        Ok(())
    }

    /// Writes the fields, with a `ttl` and what is to say of `body` in their places among them.
    fn put(&self, ttl: Option<u64>, body: &Body, sink: &mut impl Sink) {
        sink.text_if(Field::MessageId, &self.message_id);
        sink.text_if(Field::CorrelationId, &self.correlation_id);
        sink.text_if(Field::ReplyTo, &self.reply_to);
        sink.text_if(Field::ContentType, &self.content_type);
        sink.text_if(Field::Key, &self.key);
        sink.number_if(Field::Priority, self.priority);
        sink.number_if(Field::Ttl, ttl);
        sink.body(body);
        sink.properties(&self.properties);
    }
}

impl Layout for Send {
    const VERB: Verb = Verb::Send;
    const REQUIRED: FieldSet = FieldSet::of(&[Field::Seq, Field::Address]);

    fn set<'a>(&mut self, field: Field, value: impl Value<'a>) -> Result<(), DecodeError> {
        match field {
            Field::Seq => self.seq = value.seq()?,
            Field::Address => self.address = value.string()?,
            Field::Ttl => self.ttl = Some(value.u64()?),
            Field::Delay => self.delay = Some(value.u64()?),
            Field::Transient => self.transient = value.flag()?,
            field => self.fields.set(field, value)?,
        }
        Ok(())
    }

    fn put(&self, sink: &mut impl Sink) {
        sink.number(Field::Seq, self.seq);
        sink.text(Field::Address, &self.address);
        self.fields.put(self.ttl, &self.body, sink);
        sink.number_if(Field::Delay, self.delay);
        sink.flag_if(Field::Transient, self.transient);
    }

    fn body(&self) -> Option<&Body> {
        Some(&self.body)
    }

    fn body_mut(&mut self) -> Option<&mut Body> {
        Some(&mut self.body)
    }
}

impl Layout for Consume {
    const VERB: Verb = Verb::Consume;
    const REQUIRED: FieldSet = FieldSet::of(&[Field::Seq, Field::Consumer, Field::Address]);

    fn set<'a>(&mut self, field: Field, value: impl Value<'a>) -> Result<(), DecodeError> {
        match field {
            Field::Seq => self.seq = value.seq()?,
            Field::Consumer => self.consumer = value.string()?,
            Field::Address => self.address = value.string()?,
            Field::Limit => self.limit = Some(value.u64()?),
            Field::Mode => self.mode = value.word()?,
            Field::From => self.from = Some(value.from()?),
            Field::Filter => self.filter = Some(value.string()?),
            Field::Settle => self.settle = value.word()?,
            Field::Exclusive => self.exclusive = value.flag()?,
            _ => {}
        }
        Ok(())
    }

    fn put(&self, sink: &mut impl Sink) {
        sink.number(Field::Seq, self.seq);
        sink.text(Field::Consumer, &self.consumer);
        sink.text(Field::Address, &self.address);
        sink.number_if(Field::Limit, self.limit);
        sink.word_if(Field::Mode, self.mode);
        if let Some(from) = self.from {
            sink.text(Field::From, &from.to_string());
        }
        sink.text_if(Field::Filter, &self.filter);
        sink.word_if(Field::Settle, self.settle);
        sink.flag_if(Field::Exclusive, self.exclusive);
    }
}

impl Layout for Credit {
    const VERB: Verb = Verb::Credit;
    const REQUIRED: FieldSet = FieldSet::of(&[Field::Consumer, Field::Limit]);

    fn set<'a>(&mut self, field: Field, value: impl Value<'a>) -> Result<(), DecodeError> {
        match field {
            Field::Consumer => self.consumer = value.string()?,
            Field::Limit => self.limit = value.u64()?,
            _ => {}
        }
        Ok(())
    }

    fn put(&self, sink: &mut impl Sink) {
        sink.text(Field::Consumer, &self.consumer);
        sink.number(Field::Limit, self.limit);
    }
}

impl Layout for Settle {
    const VERB: Verb = Verb::Settle;
    const REQUIRED: FieldSet = FieldSet::of(&[Field::Seq, Field::Consumer]);

    fn set<'a>(&mut self, field: Field, value: impl Value<'a>) -> Result<(), DecodeError> {
        match field {
            Field::Seq => self.seq = value.seq()?,
            Field::Consumer => self.consumer = value.string()?,
            Field::Delay => self.delay = Some(value.u64()?),
            Field::Accepted => self.accepted = value.ranges()?,
            Field::Released => self.released = value.ranges()?,
            Field::Rejected => self.rejected = value.ranges()?,
            Field::Reason => self.reason = Some(value.string()?),
            _ => {}
        }
        Ok(())
    }

    fn put(&self, sink: &mut impl Sink) {
        sink.number(Field::Seq, self.seq);
        sink.text(Field::Consumer, &self.consumer);
        sink.number_if(Field::Delay, self.delay);
        sink.ranges(Field::Accepted, &self.accepted);
        sink.ranges(Field::Released, &self.released);
        sink.ranges(Field::Rejected, &self.rejected);
        sink.text_if(Field::Reason, &self.reason);
    }
}

impl Layout for Cancel {
    const VERB: Verb = Verb::Cancel;
    const REQUIRED: FieldSet = FieldSet::of(&[Field::Consumer]);

    fn set<'a>(&mut self, field: Field, value: impl Value<'a>) -> Result<(), DecodeError> {
        match field {
            Field::Seq => self.seq = Some(value.seq()?),
            Field::Consumer => self.consumer = value.string()?,
            Field::Reason => self.reason = Some(value.string()?),
            Field::Code => self.code = Some(value.code()?),
            _ => {}
        }
        Ok(())
    }

    fn put(&self, sink: &mut impl Sink) {
        sink.number_if(Field::Seq, self.seq);
        sink.text(Field::Consumer, &self.consumer);
        if let Some(code) = self.code {
            sink.text(Field::Code, code.as_str());
        }
        sink.text_if(Field::Reason, &self.reason);
    }
}

impl Layout for Confirm {
    const VERB: Verb = Verb::Confirm;
    const REQUIRED: FieldSet = FieldSet::of(&[Field::Upto]);

    fn set<'a>(&mut self, field: Field, value: impl Value<'a>) -> Result<(), DecodeError> {
        match field {
            Field::Upto => self.upto = value.u64()?,
            Field::Failed => value.failures(&mut self.failed)?,
            _ => {}
        }
        Ok(())
    }

    fn put(&self, sink: &mut impl Sink) {
        sink.number(Field::Upto, self.upto);
        sink.failures(&self.failed);
    }
}

impl Layout for Deliver {
    const VERB: Verb = Verb::Deliver;
    const REQUIRED: FieldSet = FieldSet::of(&[
        Field::Consumer,
        Field::Address,
        Field::Offset,
        Field::Attempt,
        Field::Timestamp,
    ]);

    fn set<'a>(&mut self, field: Field, value: impl Value<'a>) -> Result<(), DecodeError> {
        match field {
            Field::Consumer => self.consumer = value.string()?,
            Field::Address => self.address = value.string()?,
            Field::Offset => self.offset = value.u64()?,
            Field::Attempt => self.attempt = value.u32()?,
            Field::Timestamp => self.timestamp = value.u64()?,
            Field::Ttl => self.ttl = Some(value.u64()?),
            field => self.fields.set(field, value)?,
        }
        Ok(())
    }

    fn put(&self, sink: &mut impl Sink) {
        sink.text(Field::Consumer, &self.consumer);
        sink.text(Field::Address, &self.address);
        sink.number(Field::Offset, self.offset);
        sink.number(Field::Attempt, self.attempt.into());
        sink.number(Field::Timestamp, self.timestamp);
        self.fields.put(self.ttl, &self.body, sink);
    }

    fn body(&self) -> Option<&Body> {
        Some(&self.body)
    }

    fn body_mut(&mut self) -> Option<&mut Body> {
        Some(&mut self.body)
    }
}

impl Layout for ErrorFrame {
    const VERB: Verb = Verb::Error;
    const REQUIRED: FieldSet = FieldSet::of(&[Field::Code, Field::Reason]);

    fn set<'a>(&mut self, field: Field, value: impl Value<'a>) -> Result<(), DecodeError> {
        match field {
            Field::Reason => self.reason = value.string()?,
            Field::Code => self.code = value.code()?,
            _ => {}
        }
        Ok(())
    }

    fn put(&self, sink: &mut impl Sink) {
        sink.text(Field::Code, self.code.as_str());
        sink.text(Field::Reason, &self.reason);
    }
}

impl Layout for Close {
    const VERB: Verb = Verb::Close;
    const REQUIRED: FieldSet = FieldSet::of(&[]);

    fn set<'a>(&mut self, field: Field, value: impl Value<'a>) -> Result<(), DecodeError> {
        if field == Field::Reason {
            self.reason = Some(value.string()?);
        }
        Ok(())
    }

    fn put(&self, sink: &mut impl Sink) {
        sink.text_if(Field::Reason, &self.reason);
    }
}
