//! The state that all requests to `/graphql` share.

use std::sync::Arc;

use super::edge::admission::Admissions;
use super::edge::shutdown::Shutdown;
use super::execution::{answer_memory::AnswerMemory, executor::Executor};
use super::operation::{endpoint::Endpoint, operations::Operations};
use super::settings::Settings;
use super::share::{client_subscription::SubscriptionContext, shared_answers::SharedAnswers};

/// The state that each request is answered with.
#[derive(Clone)]
pub(super) struct Served<E> {
    pub(super) endpoint: E,
    pub(super) operations: Arc<Operations>,
    pub(super) settings: Arc<Settings>,
    pub(super) subscriptions: Arc<SubscriptionContext<E>>,
    pub(super) admissions: Admissions,
    pub(super) executor: Executor,
    pub(super) answer_memory: AnswerMemory,
    pub(super) shared_answers: SharedAnswers,
    pub(super) shutdown: Shutdown,
}

impl<E: Endpoint> Served<E> {
    pub(super) fn new(endpoint: E, settings: Settings, shutdown: Shutdown) -> Self {
        let executor = Executor::new(&settings.work, shutdown.clone());
        let subscriptions = SubscriptionContext::new(endpoint.clone(), executor.clone(), settings.groups.clone());
        Self {
            operations: Arc::new(Operations::new(endpoint.catalogue(), settings.limits.clone())),
            subscriptions: Arc::new(subscriptions),
            admissions: Admissions::default(),
            executor,
            answer_memory: AnswerMemory::new(settings.answers.clone()),
            shared_answers: SharedAnswers::new(&settings.answers),
            shutdown,
            settings: Arc::new(settings),
            endpoint,
        }
    }
}
