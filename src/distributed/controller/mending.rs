//! Repairs what a broker may lose: streams, consumers and tasks.

use super::{Broken, Controller, QUIET, RESULT_CONSUMER};
use crate::distributed::protocol::{result_consumer, task_consumer};
use async_nats::jetstream::stream::Stream;
use futures_util::TryStreamExt;
use std::collections::HashSet;
use std::time::{Duration, SystemTime};

/// A result that is not in the journal after this long is delivered again, which is harmless.
const RESULT_WAIT: Duration = Duration::from_mins(10);

impl Controller {
    /// Creates the streams and consumers that are missing. Returns whether the tasks are lost.
    pub(super) async fn mend(&mut self) -> Result<bool, Broken> {
        let [tasks, results, notes] = self.names.streams();
        let lost = match self.context.get_stream(&tasks.name).await {
            Ok(_) => false,
            Err(error) => {
                tracing::info!(%error, "creating the queue of tasks");
                true
            }
        };
        let tasks = self.context.get_or_create_stream(tasks).await?;
        let results = self.context.get_or_create_stream(results).await?;
        self.context.get_or_create_stream(notes).await?;
        let names: Vec<String> = tasks.consumer_names().try_collect().await?;
        match names.first() {
            Some(name) => self.welcome.consumer.clone_from(name),
            None => self.replace_consumer().await?,
        }
        if results.consumer_info(RESULT_CONSUMER).await.is_err() {
            let consumer = result_consumer(RESULT_CONSUMER.to_owned(), RESULT_WAIT);
            results.create_consumer(consumer).await?;
            self.results = None;
        }
        Ok(lost)
    }

    /// Delivers all tasks again, through a consumer with a new name. That voids the leases of the old one, so that a
    /// worker cannot acknowledge a new task that has the same number as its old one.
    async fn replace_consumer(&mut self) -> Result<(), Broken> {
        let stream = self.context.get_stream_no_info(self.names.tasks()).await?;
        let names: Vec<String> = stream.consumer_names().try_collect().await?;
        for name in names {
            stream.delete_consumer(&name).await?;
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let name = format!("workers-{:x}", now.as_nanos());
        stream.create_consumer(task_consumer(name.clone(), self.welcome.ack_wait)).await?;
        self.welcome.consumer = name;
        Ok(())
    }

    /// Compares what the broker has with what the search is waiting for.
    pub(super) async fn reconcile(&mut self) -> Result<(), Broken> {
        self.mend().await?;
        let queued = self.subjects(&self.names.tasks(), "task").await?;
        let results = self.subjects(&self.names.results(), "result").await?;
        let keys: Vec<String> = self.flights.keys().cloned().collect();
        let (mut put, mut fetched) = (0, 0);
        for key in keys {
            if results.contains(&key) {
                fetched += u32::from(self.fetch(&key, false).await?);
            } else if !queued.contains(&key) {
                put += 1;
                self.put(&key, true).await;
            }
        }
        if put + fetched > 0 {
            tracing::warn!(put, fetched, "the broker had lost tasks, or had not delivered results");
        }
        let stream = self.context.get_stream(self.names.tasks()).await?;
        for key in queued.iter().filter(|key| !self.flights.contains_key(*key)) {
            // Nobody is waiting for it: it is left over from another search, or its result arrived in another way.
            stream.purge().filter(self.names.subject("task", key)).await?;
        }
        self.unstall(&stream).await
    }

    /// Replaces a stuck consumer: after a power failure of the broker it may have tasks that it never delivers.
    async fn unstall(&mut self, stream: &Stream) -> Result<(), Broken> {
        let messages = stream.get_info().await?.state.messages;
        let consumer = stream.consumer_info(&self.welcome.consumer).await?;
        let stalled = messages > 0 && consumer.num_pending == 0 && consumer.num_ack_pending == 0;
        if stalled && self.stalled {
            tracing::warn!(messages, "the broker does not deliver its tasks; creating its consumer again");
            self.replace_consumer().await?;
        }
        // The two numbers are read at different times, so one mismatch may be chance.
        self.stalled = stalled && !self.stalled;
        if self.stalled {
            self.quiet.pause = QUIET;
        }
        Ok(())
    }

    /// Returns the last parts of the subjects on which a stream has messages.
    pub(super) async fn subjects(&self, stream: &str, kind: &str) -> Result<HashSet<String>, Broken> {
        let stream = self.context.get_stream(stream).await?;
        let mut subjects = stream.info_with_subjects(self.names.subject(kind, "*")).await?;
        let mut found = HashSet::new();
        while let Some((subject, _)) = subjects.try_next().await? {
            found.extend(subject.rsplit('.').next().map(str::to_owned));
        }
        Ok(found)
    }
}
