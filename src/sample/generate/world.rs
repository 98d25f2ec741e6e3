//! The company of a generated desk, as large as the desk needs it: analysts, employees, machines, addresses, tags. A
//! few of each occur all the time, most of them seldom.

use chrono::Duration;

use super::GeneratePlan;
use crate::app::load::Accounts;
use crate::domain::account::{Actor, Group, GroupDraft, Role, User, UserDraft};
use crate::domain::{GroupId, Instant, Result, UserId};
use crate::sample::dice::Dice;
use crate::sample::people::{
    ANALYSTS, BAD_DOMAINS, CLOUD_RESOURCES, Cast, DOMAIN, EMPLOYEES, GROUPS, SERVERS, address,
};

/// The account that ingests alerts.
const CONNECTOR: (&str, &str) = ("alert.connector", "Alert connector");

/// Tags that people write, the usual ones first.
const TAGS: [&str; 40] = [
    "noise",
    "phishing",
    "needs second line",
    "waiting for user",
    "malware",
    "vip",
    "tuning",
    "cloud",
    "false alarm",
    "password spray",
    "finance",
    "credential theft",
    "mfa fatigue",
    "waiting for vendor",
    "oauth",
    "exception expired",
    "by phone",
    "lateral movement",
    "data loss",
    "red team",
    "account takeover",
    "insider",
    "bec",
    "ransomware",
    "supplier",
    "vpn",
    "reimage",
    "legal hold",
    "executive",
    "ot network",
    "hands on keyboard",
    "shadow it",
    "leaver",
    "contractor",
    "public exposure",
    "domain controller",
    "lessons learned",
    "press",
    "regulator",
    "law enforcement",
];

/// The number of tags that name depots of the company, in addition to [`TAGS`].
const DEPOTS: usize = 160;

/// The distribution of a pool's values by rank: 1 / (rank + `shift`), the law of Zipf and Mandelbrot. It uses whole
/// numbers, which are the same on every machine.
#[derive(Debug)]
pub(crate) struct Zipf {
    /// The cumulated shares: the end of each rank's share.
    ends: Vec<u64>,
}

impl Zipf {
    /// Makes a distribution of this many ranks. A larger shift makes the first ranks less frequent; it is at least 1.
    pub(crate) fn new(ranks: usize, shift: u64) -> Self {
        let mut end = 0;
        let share = |rank: u64| (1 << 32) / (rank + shift);
        let ends = (0..ranks.max(1) as u64).map(|rank| {
            end += share(rank);
            end
        });
        Self { ends: ends.collect() }
    }

    /// Draws a rank, from 0.
    pub(crate) fn pick(&self, dice: &mut Dice) -> usize {
        let roll = dice.roll() % self.ends.last().copied().unwrap_or(1);
        self.ends.partition_point(|end| *end <= roll)
    }
}

/// The persons and things of a generated desk.
#[derive(Debug)]
pub(crate) struct World {
    /// The analysts with their groups.
    pub analysts: Vec<Actor>,
    /// The service account that ingests alerts.
    pub connector: Actor,
    /// The groups, each with its members.
    pub groups: Vec<(Group, Vec<UserId>)>,
    by_work: Zipf,
    by_group: Zipf,
    employees: Zipf,
    servers: Zipf,
    addresses: Zipf,
    domains: Zipf,
    hashes: Zipf,
    tags: Zipf,
}

impl World {
    /// Makes the world of a plan. A larger desk has more of everything.
    pub(crate) fn of(plan: &GeneratePlan) -> Result<Self> {
        let at = plan.start() - Duration::days(1);
        let mut dice = Dice::new(plan.seed);
        let large = |share: u64, least: u64, most: u64| (plan.incidents / share).clamp(least, most) as usize;
        let groups: Vec<Group> = GROUPS
            .iter()
            .map(|(account, name)| {
                let draft = GroupDraft::parse(account, Some(name))?;
                Ok(Group::new(GroupId(super::id(at, &mut dice)), draft, at))
            })
            .collect::<Result<_>>()?;
        let mut members = vec![Vec::new(); groups.len()];
        let mut analysts = Vec::new();
        for (account, name, role, group) in staff(large(1_000, 40, 2_000)) {
            let user = user(&account, &name, role, at, &mut dice)?;
            let place = GROUPS.iter().position(|(account, _)| *account == group).unwrap_or(0);
            members[place].push(user.id);
            analysts.push(Actor { user, groups: vec![groups[place].id] });
        }
        let connector = user(CONNECTOR.0, CONNECTOR.1, Role::Responder, at, &mut dice)?;
        Ok(Self {
            by_work: Zipf::new(analysts.len(), 4),
            by_group: Zipf::new(groups.len(), 1),
            connector: Actor { user: connector, groups: Vec::new() },
            analysts,
            groups: groups.into_iter().zip(members).collect(),
            employees: Zipf::new(large(20, 200, 20_000), 12),
            servers: Zipf::new(large(500, 14, 1_400), 6),
            addresses: Zipf::new(large(10, 400, 60_000), 10),
            domains: Zipf::new(large(100, 24, 5_000), 4),
            hashes: Zipf::new(large(20, 100, 50_000), 8),
            tags: Zipf::new(TAGS.len() + DEPOTS, 1),
        })
    }

    /// Returns the users and groups to create.
    pub(crate) fn accounts(&self) -> Accounts {
        let users = self.analysts.iter().chain([&self.connector]).map(|actor| actor.user.clone());
        Accounts { users: users.collect(), groups: self.groups.clone() }
    }

    /// Draws an analyst. Some take far more incidents than others.
    pub(crate) fn analyst(&self, dice: &mut Dice) -> &Actor {
        &self.analysts[self.by_work.pick(dice)]
    }

    /// Draws a group that takes over incidents.
    pub(crate) fn group(&self, dice: &mut Dice) -> &Group {
        &self.groups[self.by_group.pick(dice)].0
    }

    /// Draws a tag that people write.
    pub(crate) fn tag(&self, dice: &mut Dice) -> String {
        let rank = self.tags.pick(dice);
        match TAGS.get(rank) {
            Some(tag) => (*tag).to_owned(),
            None => format!("depot {:03}", rank - TAGS.len() + 1),
        }
    }

    /// Draws the persons and things of one incident.
    pub(crate) fn cast(&self, dice: &mut Dice) -> Cast {
        let (victim, other) = (self.employees.pick(dice), self.employees.pick(dice));
        let (server, server2) = (self.servers.pick(dice), self.servers.pick(dice));
        let bad = domain(self.domains.pick(dice));
        let hash = hash(self.hashes.pick(dice));
        let words = vec![
            ("{user}", account_of(victim)),
            ("{name}", name_of(victim)),
            ("{host}", workstation_of(victim)),
            ("{user2}", account_of(other)),
            ("{name2}", name_of(other)),
            ("{host2}", workstation_of(other)),
            ("{server}", server_of(server)),
            ("{server2}", server_of(server2)),
            ("{ip}", outside(self.addresses.pick(dice))),
            ("{ip2}", outside(self.addresses.pick(dice))),
            ("{inside}", inside(self.addresses.pick(dice))),
            ("{url}", format!("https://{bad}/{}", dice.pick(&["s/view", "login", "doc/9f2", "r/track", "sso"]))),
            ("{bad}", bad),
            ("{hash}", hash),
            ("{cloud}", (*dice.pick(&CLOUD_RESOURCES)).to_owned()),
            ("{n}", dice.between(12, 940).to_string()),
            ("{few}", dice.between(2, 9).to_string()),
            ("{ticket}", format!("CHG-{}", dice.between(20_400, 98_900))),
        ];
        Cast::of(words)
    }
}

fn user(account: &str, name: &str, role: Role, at: Instant, dice: &mut Dice) -> Result<User> {
    let email = format!("{account}@{DOMAIN}");
    let draft = UserDraft::parse(account, Some(name), Some(Some(&email)), Some(role))?;
    Ok(User::new(UserId(super::id(at, dice)), draft, at))
}

/// Returns account, name, role and group of `count` persons: first the sample desk's, then combinations of their names.
fn staff(count: usize) -> impl Iterator<Item = (String, String, Role, &'static str)> {
    let known = ANALYSTS.iter().map(|a| (a.account.to_owned(), a.name.to_owned(), a.role, a.group));
    let people = ANALYSTS.iter().map(|analyst| analyst.name).chain(EMPLOYEES.iter().map(|employee| employee.name));
    let names: Vec<(&str, &str)> = people.filter_map(|name| name.split_once(' ')).collect();
    let others = (1..names.len()).flat_map(move |step| {
        let names = names.clone();
        (0..names.len()).map(move |first| {
            let name = format!("{} {}", names[first].0, names[(first + step) % names.len()].1);
            let account = address(&name).split('@').next().unwrap_or_default().to_owned();
            let group = GROUPS[if first % 3 == 0 { 1 + first % 2 } else { 0 }].0;
            (account, name, if first % 25 == 24 { Role::Manager } else { Role::Responder }, group)
        })
    });
    known.chain(others).take(count)
}

/// Returns first name, last name, and the ordinal among persons of this name.
fn person(rank: usize) -> (&'static str, &'static str, usize) {
    let count = EMPLOYEES.len();
    let (first, last) = (rank % count, (rank + rank / count) % count);
    let parts = |index: usize| EMPLOYEES[index].name.split_once(' ').unwrap_or_default();
    (parts(first).0, parts(last).1, rank / (count * count))
}

fn name_of(rank: usize) -> String {
    let (first, last, _) = person(rank);
    format!("{first} {last}")
}

fn account_of(rank: usize) -> String {
    let (first, last, again) = person(rank);
    match again {
        0 => address(&format!("{first} {last}")),
        again => address(&format!("{first} {last}{}", again + 1)),
    }
}

fn workstation_of(rank: usize) -> String {
    format!("{}-ws-{:04}", EMPLOYEES[rank % EMPLOYEES.len()].unit, rank + 11)
}

/// Returns `web-track-01`, or a further server of the same kind: `web-track-101`.
fn server_of(rank: usize) -> String {
    let (kind, number) = SERVERS[rank % SERVERS.len()].rsplit_once('-').unwrap_or_default();
    match rank / SERVERS.len() {
        0 => format!("{kind}-{number}.{DOMAIN}"),
        again => format!("{kind}-{again}{number}.{DOMAIN}"),
    }
}

/// Returns an external address: first from the networks for documentation (RFC 5737), then from the network for
/// measurements (RFC 2544), which has 131,072 addresses.
fn outside(rank: usize) -> String {
    match rank {
        0..744 => format!("{}.{}", ["192.0.2", "198.51.100", "203.0.113"][rank % 3], 2 + rank / 3),
        _ => format!("198.{}.{}.{}", 18 + (rank >> 16 & 1), rank >> 8 & 255, rank & 255),
    }
}

fn inside(rank: usize) -> String {
    format!("10.{}.{}.{}", 20 + rank % 8, rank / 8 % 250, 5 + rank / 2_000 % 245)
}

/// Returns a domain of attackers: one of the sample desk's, then other combinations of their words.
fn domain(rank: usize) -> String {
    let parts = |index: usize| BAD_DOMAINS[index].trim_end_matches(".example").split_once('-');
    match rank.checked_sub(BAD_DOMAINS.len()) {
        None => BAD_DOMAINS[rank].to_owned(),
        Some(rank) => {
            let words: Vec<&str> = (0..BAD_DOMAINS.len()).filter_map(parts).flat_map(|(a, b)| [a, b]).collect();
            let (first, last) = (words[rank % words.len()], words[(rank / words.len() + rank + 1) % words.len()]);
            match rank / (words.len() * words.len()) {
                0 => format!("{first}{last}.example"),
                again => format!("{first}{last}-{again}.example"),
            }
        }
    }
}

fn hash(rank: usize) -> String {
    let mut dice = Dice::new(rank as u64);
    (0..4).map(|_| format!("{:016x}", dice.roll())).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::domain::tag::{Tag, TagKind};

    #[test]
    fn the_first_ranks_come_up_more_often() {
        let (zipf, mut dice) = (Zipf::new(200, 1), Dice::new(7));
        let mut counts = vec![0; 200];
        for _ in 0..100_000 {
            counts[zipf.pick(&mut dice)] += 1;
        }
        // The sum of 1/rank over 200 ranks is 5.878.
        assert!((16_500..17_500).contains(&counts[0]) && (8_000..9_000).contains(&counts[1]), "{counts:?}");
        assert!(counts.iter().all(|count| *count > 40), "{counts:?}");
    }

    #[test]
    fn what_names_something_names_nothing_else() {
        let distinct = |names: Vec<String>| names.iter().collect::<HashSet<_>>().len() == names.len();
        let all = |name: fn(usize) -> String, ranks: usize| (0..ranks).map(name).collect::<Vec<_>>();
        assert!(distinct(all(account_of, 20_000)));
        assert!(distinct(all(workstation_of, 20_000)));
        assert!(distinct(all(server_of, 1_400)));
        assert!(distinct(all(outside, 60_000)));
        assert!(distinct(all(inside, 60_000)));
        assert!(distinct(all(domain, 5_000)));
        assert!(distinct(all(hash, 1_000)));
        assert!(distinct(staff(2_000).map(|(account, ..)| account).collect()));
        let keys = TAGS.iter().map(|name| Tag::parse("tag", TagKind::Custom, name).unwrap().key());
        assert!(distinct(keys.collect()));
    }
}
