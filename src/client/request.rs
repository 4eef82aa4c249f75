//! Requests and their replies: one temporary queue for each client, replies told apart by their correlation id.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use restante_proto::mbws::SettleMode;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::error::ClientError;
use super::outbox::{Command, Outbox};
use super::shelf::Shelf;
use super::{Client, ConsumeOptions, Delivery, Outgoing};

/// The temporary queue; a name of this session only.
const ADDRESS: &str = "~replies";

type Waiting = Mutex<HashMap<String, oneshot::Sender<Delivery>>>;

/// Who waits for which reply.
#[derive(Debug)]
pub(super) struct Replies {
    waiting: Arc<Waiting>,
}

impl Replies {
    /// Starts the consumer of replies.
    pub(super) async fn start(client: &Client) -> Result<Replies, ClientError> {
        let mut options = ConsumeOptions::new(ADDRESS);
        options.name = Some(ADDRESS.to_owned());
        options.settle = SettleMode::Auto;
        let consumer = client.consume(options).await?;
        let waiting = Arc::new(Waiting::default());
        let (shelf, outbox) = consumer.into_parts();
        tokio::spawn(route(shelf, outbox, Arc::clone(&waiting)));
        Ok(Replies { waiting })
    }

    pub(super) async fn exchange(
        &self,
        client: &Client,
        mut message: Outgoing,
    ) -> Result<Delivery, ClientError> {
        let id = Uuid::new_v4().to_string();
        message.fields.correlation_id = Some(id.clone());
        message.fields.reply_to = Some(ADDRESS.to_owned());
        let (reply, answer) = oneshot::channel();
        let _entry = Entry::insert(&self.waiting, id, reply);
        client.send_confirmed(message).await?;
        answer.await.map_err(|_| client.why_ended())
    }
}

/// Hands replies to whoever waits, until the client ends. Holds no handle, so that it keeps no client alive.
async fn route(shelf: Arc<Shelf>, outbox: Arc<Outbox>, waiting: Arc<Waiting>) {
    loop {
        let (batch, stir) = shelf.take(usize::MAX);
        let Ok(batch) = batch else { break };
        if stir && !outbox.push(Command::Stir(Arc::clone(&shelf.name))) {
            break;
        }
        if batch.is_empty() {
            shelf.arrived().await;
        }
        for delivery in batch {
            let id = delivery.fields.correlation_id.as_deref();
            let reply = id.and_then(|id| waiting.lock().remove(id));
            if let Some(reply) = reply {
                // Whoever asked may have stopped waiting.
                drop(reply.send(delivery));
            }
        }
    }
    waiting.lock().clear();
}

/// One wait; taken off the list when the waiter gives up.
struct Entry<'a> {
    waiting: &'a Waiting,
    id: String,
}

impl<'a> Entry<'a> {
    fn insert(waiting: &'a Waiting, id: String, reply: oneshot::Sender<Delivery>) -> Self {
        waiting.lock().insert(id.clone(), reply);
        Entry { waiting, id }
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.waiting.lock().remove(&self.id);
    }
}
