//! How much a peer may claim (MBWS.md §9).

use super::DecodeError;

/// Limits of one frame. The decoders check all but the two of addresses, and check before they reserve memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a whole frame, header and body as they stand on the wire; default 1 MiB.
    pub frame_bytes_max: usize,
    /// Bytes of a header; default 64 KiB. In text: to the empty line, included. In binary: the length prefix's value.
    pub header_bytes_max: usize,
    /// Bytes of one field's value as it stands on the wire; default 64 KiB.
    pub field_bytes_max: usize,
    /// Properties of a message; default 64.
    pub properties_max: usize,
    /// Ranges in one field, as written, before adjacent ones are joined; default 1024.
    pub ranges_max: usize,
    /// Bytes of an address; default 1024. Not the codec's to check: past it the session answers `bad-address`.
    pub address_bytes_max: usize,
    /// Segments of an address; default 64. Not the codec's to check: past it the session answers `bad-address`.
    pub address_segments_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            frame_bytes_max: 1024 * 1024,
            header_bytes_max: 64 * 1024,
            field_bytes_max: 64 * 1024,
            properties_max: 64,
            ranges_max: 1024,
            address_bytes_max: 1024,
            address_segments_max: 64,
        }
    }
}

impl Limits {
    pub(super) fn check_frame(&self, bytes: usize) -> Result<(), DecodeError> {
        if bytes > self.frame_bytes_max {
            return Err(DecodeError::FrameTooBig {
                bytes,
                max: self.frame_bytes_max,
            });
        }
        Ok(())
    }

    pub(super) fn check_header(&self, bytes: u64) -> Result<(), DecodeError> {
        if bytes > self.header_bytes_max as u64 {
            return Err(DecodeError::HeaderTooBig {
                bytes,
                max: self.header_bytes_max,
            });
        }
        Ok(())
    }

    pub(super) fn check_field(&self, field: &'static str, bytes: usize) -> Result<(), DecodeError> {
        if bytes > self.field_bytes_max {
            return Err(DecodeError::FieldTooBig {
                field,
                bytes,
                max: self.field_bytes_max,
            });
        }
        Ok(())
    }
}
