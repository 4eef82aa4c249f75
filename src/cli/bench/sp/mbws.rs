//! The same load by MBWS: durable sends, and consumers that settle what they take.

use std::sync::Arc;

use bytes::Bytes;
use tokio::task::JoinSet;

use super::Sp;
use super::door::Door;
use super::flow::Flow;
use super::push::batch;
use super::row::Round;
use crate::cli::bench::pool::Times;
use crate::client::{Client, ClientError, ConsumeOptions, Consumer, Outgoing};

/// Deliveries taken and settled at once.
const TAKE_MAX: usize = 512;

/// Senders and consumers of one queue.
///
/// # Errors
/// A client that ended.
pub(super) async fn round(door: &Door, args: &Sp, address: &str) -> anyhow::Result<Round> {
    let flow = Flow::new(u64::from(args.window) * u64::from(args.senders));
    let mut tasks: JoinSet<Result<(), ClientError>> = JoinSet::new();
    for client in door.target.clients(args.takers, args.window).await? {
        let consumer = client.consume(ConsumeOptions::new(address)).await?;
        tasks.spawn(take(client, consumer, Arc::clone(&flow)));
    }
    for client in door.target.clients(args.senders, args.window).await? {
        let sending = send(client, address.to_owned(), args.size, Arc::clone(&flow));
        tasks.spawn(sending);
    }
    let counted = flow
        .meter
        .count(args.warm_up, args.seconds, door.process)
        .await?;
    flow.meter.stop();
    let missing = flow.end().await;
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(Round::counted(&counted, &flow.meter.latency(), missing))
}

async fn send(
    client: Client,
    address: String,
    size: u32,
    flow: Arc<Flow>,
) -> Result<(), ClientError> {
    let mut stop = flow.meter.stopped();
    let n = batch(client.window() as u32);
    while flow.take_room(u64::from(n), &mut stop).await {
        let mut body = vec![b'x'; size as usize];
        if let Some(time) = body.first_chunk_mut() {
            *time = flow.meter.nanos().to_le_bytes();
        }
        let body = Bytes::from(body);
        let message = || Outgoing::bytes(address.as_str(), body.clone());
        client
            .send_batch((0..n).map(|_| message()).collect())
            .await?;
    }
    client.all_confirmed().await?;
    if let Some(failure) = client.take_failures().first() {
        return Err(ClientError::Refused(failure.code));
    }
    client.close().await
}

async fn take(client: Client, mut consumer: Consumer, flow: Arc<Flow>) -> Result<(), ClientError> {
    let mut over = flow.ended();
    let mut times = Times::new();
    loop {
        let batch = tokio::select! {
            batch = consumer.next_batch(TAKE_MAX) => batch?,
            _ = over.wait_for(|over| *over) => break,
        };
        let now = flow.meter.nanos();
        if flow.meter.is_counting() {
            for delivery in &batch {
                let sent = super::peer::time_of(&delivery.body.bytes);
                times.record(now.saturating_sub(sent));
            }
        }
        consumer.accept(batch.iter().map(|delivery| delivery.offset));
        flow.came(batch.len() as u64);
    }
    flow.meter.add(&times);
    consumer.all_settled().await?;
    client.close().await
}
