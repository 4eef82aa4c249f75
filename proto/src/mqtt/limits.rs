//! How much a peer may claim.

/// Limits of what a [`Decoder`](super::Decoder) takes. All are checked before memory is reserved for what they limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a packet, its fixed header included: what the server announces as Maximum Packet Size. Default 1 MiB.
    pub packet_bytes_max: u32,
    /// The same until [`Decoder::admit`](super::Decoder::admit): for peers that nobody knows yet. Default 96 KiB, room
    /// for a CONNECT with the longest will message and a token. The smaller of the two holds.
    pub unadmitted_packet_bytes_max: u32,
    /// Bytes of the properties of a packet, or of a will; default 64 KiB.
    pub properties_bytes_max: usize,
    /// User properties of a packet, or of a will, and subscription identifiers of a PUBLISH; default 64 of each.
    pub properties_max: usize,
    /// Bytes of a topic, a response topic or a filter; default 1024.
    pub topic_bytes_max: usize,
    /// Levels of a topic, a response topic or a filter; default 64.
    pub topic_levels_max: usize,
    /// Filters in one SUBSCRIBE or UNSUBSCRIBE; default 256.
    pub filters_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            packet_bytes_max: 1024 * 1024,
            unadmitted_packet_bytes_max: 96 * 1024,
            properties_bytes_max: 64 * 1024,
            properties_max: 64,
            topic_bytes_max: 1024,
            topic_levels_max: 64,
            filters_max: 256,
        }
    }
}
