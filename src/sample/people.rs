//! The company of the sample desk: Tarnvale Logistics, its people, its machines and its networks. All invented.
//!
//! Addresses come from the ranges that are set aside for documentation (RFC 5737) and from 10.0.0.0/8, names from
//! `.example` (RFC 2606).

use super::dice::Dice;
use crate::domain::account::Role;
use crate::import::record::{GroupRecord, Person, Record, UserRecord};

/// The company's domain.
pub(crate) const DOMAIN: &str = "tarnvale.example";

/// A member of the desk's staff.
#[derive(Debug)]
pub(crate) struct Analyst {
    /// The account id.
    pub account: &'static str,
    /// The display name.
    pub name: &'static str,
    /// The role, which decides what the analyst may do.
    pub role: Role,
    /// The group of the analyst.
    pub group: &'static str,
}

/// The first line, which takes new incidents.
pub(crate) const FIRST_LINE: &str = "first-line";
/// The second line, which takes hard incidents.
pub(crate) const SECOND_LINE: &str = "second-line";
/// The team for the cloud platform.
pub(crate) const CLOUD_RESPONSE: &str = "cloud-response";

/// The groups that can own incidents.
pub(crate) const GROUPS: [(&str, &str); 3] =
    [(FIRST_LINE, "First line"), (SECOND_LINE, "Second line"), (CLOUD_RESPONSE, "Cloud response")];

const fn analyst(account: &'static str, name: &'static str, role: Role, group: &'static str) -> Analyst {
    Analyst { account, name, role, group }
}

/// The analysts of all shifts.
pub(crate) const ANALYSTS: [Analyst; 9] = [
    analyst("mira.holt", "Mira Holt", Role::Responder, FIRST_LINE),
    analyst("tomas.reyk", "Tomas Reyk", Role::Responder, FIRST_LINE),
    analyst("adaeze.obi", "Adaeze Obi", Role::Responder, FIRST_LINE),
    analyst("jun.takeda", "Jun Takeda", Role::Responder, FIRST_LINE),
    analyst("lena.brandt", "Lena Brandt", Role::Responder, SECOND_LINE),
    analyst("samir.haddad", "Samir Haddad", Role::Responder, SECOND_LINE),
    analyst("priya.raman", "Priya Raman", Role::Responder, CLOUD_RESPONSE),
    analyst("oskar.lind", "Oskar Lind", Role::Responder, CLOUD_RESPONSE),
    analyst("ruth.maddox", "Ruth Maddox", Role::Manager, SECOND_LINE),
];

/// An employee of the company.
#[derive(Debug)]
pub(crate) struct Employee {
    /// First and last name.
    pub name: &'static str,
    /// The unit; its name also starts the name of the workstation.
    pub unit: &'static str,
}

const fn employee(name: &'static str, unit: &'static str) -> Employee {
    Employee { name, unit }
}

/// The employees whom incidents affect.
pub(crate) const EMPLOYEES: [Employee; 40] = [
    employee("Anneke Visser", "fin"),
    employee("Bram Okafor", "fin"),
    employee("Carla Monteiro", "fin"),
    employee("Derek Aalto", "fin"),
    employee("Elif Yaman", "pay"),
    employee("Farid Nasser", "pay"),
    employee("Greta Solheim", "hr"),
    employee("Hugo Marchetti", "hr"),
    employee("Imani Dlamini", "hr"),
    employee("Jonas Petrov", "ops"),
    employee("Kaisa Lehto", "ops"),
    employee("Liam Farrugia", "ops"),
    employee("Marta Kowal", "ops"),
    employee("Nikhil Bose", "ops"),
    employee("Olga Demir", "ops"),
    employee("Pablo Ferrer", "ops"),
    employee("Quinn Abara", "sales"),
    employee("Rosa Lindqvist", "sales"),
    employee("Stefan Oduya", "sales"),
    employee("Tara McBride", "sales"),
    employee("Uwe Kessler", "sales"),
    employee("Valeria Conti", "sales"),
    employee("Wen Huang", "dev"),
    employee("Xavier Dubois", "dev"),
    employee("Yusuf Karaca", "dev"),
    employee("Zofia Nowak", "dev"),
    employee("Amara Nwosu", "dev"),
    employee("Benoit Lacroix", "dev"),
    employee("Chiara Russo", "dev"),
    employee("Dmitri Varga", "it"),
    employee("Esther Amoah", "it"),
    employee("Finn Gallagher", "it"),
    employee("Gabriela Rojas", "it"),
    employee("Henrik Dahl", "law"),
    employee("Isla Campbell", "law"),
    employee("Joao Pereira", "exec"),
    employee("Karin Ekström", "exec"),
    employee("Luis Arroyo", "exec"),
    employee("Mina Sato", "rnd"),
    employee("Noah Weiss", "rnd"),
];

/// The servers, named after their purpose.
pub(crate) const SERVERS: [&str; 14] = [
    "dc-north-01",
    "dc-south-02",
    "file-hq-01",
    "sql-ledger-01",
    "sql-fleet-02",
    "web-track-01",
    "web-portal-02",
    "vpn-edge-01",
    "mail-relay-01",
    "bkp-vault-01",
    "jump-admin-01",
    "build-ci-03",
    "erp-app-01",
    "print-hub-01",
];

/// The domains of the attackers.
pub(crate) const BAD_DOMAINS: [&str; 12] = [
    "invoice-review.example",
    "tarnvale-login.example",
    "parcel-notice.example",
    "docshare-secure.example",
    "cdn-metrics.example",
    "voicemail-hub.example",
    "hr-benefits-update.example",
    "freight-quotes.example",
    "sso-renewal.example",
    "update-agent.example",
    "quietlake.example",
    "panel-north.example",
];

/// Cloud storage and other cloud resources.
pub(crate) const CLOUD_RESOURCES: [&str; 8] = [
    "storage/tarnvale-manifests",
    "storage/tarnvale-payroll-archive",
    "storage/fleet-telemetry",
    "vault/prod-signing",
    "cluster/track-prod",
    "cluster/track-staging",
    "database/orders-replica",
    "registry/internal-images",
];

/// Returns all analysts and their groups as records.
pub(crate) fn accounts(at: crate::domain::Instant) -> Vec<Record> {
    let users = ANALYSTS.iter().map(|analyst| {
        Record::User(UserRecord {
            account: analyst.account.to_owned(),
            name: Some(analyst.name.to_owned()),
            email: Some(format!("{}@{DOMAIN}", analyst.account)),
            role: Some(analyst.role),
            at: Some(at),
        })
    });
    let groups = GROUPS.iter().map(|(account, name)| {
        let members = ANALYSTS.iter().filter(|analyst| analyst.group == *account);
        Record::Group(GroupRecord {
            account: (*account).to_owned(),
            name: Some((*name).to_owned()),
            members: members.map(|analyst| Person::named(analyst.account)).collect(),
            at: Some(at),
        })
    });
    users.chain(groups).collect()
}

/// The persons and things of one story: the values of the placeholders in its templates.
#[derive(Clone, Debug)]
pub(crate) struct Cast {
    words: Vec<(&'static str, String)>,
}

impl Cast {
    /// Chooses a cast at random.
    pub(crate) fn new(dice: &mut Dice) -> Self {
        let victim = dice.between(0, EMPLOYEES.len() as u64 - 1);
        let other = (victim + dice.between(1, EMPLOYEES.len() as u64 - 1)) % EMPLOYEES.len() as u64;
        let (victim, other) = (&EMPLOYEES[victim as usize], &EMPLOYEES[other as usize]);
        let server = dice.between(0, SERVERS.len() as u64 - 1) as usize;
        let bad = *dice.pick(&BAD_DOMAINS);
        let hash: String = (0..4).map(|_| format!("{:016x}", dice.roll())).collect();
        let words = vec![
            ("{user}", address(victim.name)),
            ("{name}", victim.name.to_owned()),
            ("{host}", workstation(victim, dice)),
            ("{user2}", address(other.name)),
            ("{name2}", other.name.to_owned()),
            ("{host2}", workstation(other, dice)),
            ("{server}", format!("{}.{DOMAIN}", SERVERS[server])),
            ("{server2}", format!("{}.{DOMAIN}", SERVERS[(server + 3) % SERVERS.len()])),
            ("{ip}", outside(dice)),
            ("{ip2}", outside(dice)),
            ("{inside}", format!("10.{}.{}.{}", dice.between(20, 27), dice.between(0, 40), dice.between(5, 250))),
            ("{bad}", bad.to_owned()),
            ("{url}", format!("https://{bad}/{}", dice.pick(&["s/view", "login", "doc/9f2", "r/track", "sso"]))),
            ("{hash}", hash),
            ("{cloud}", (*dice.pick(&CLOUD_RESOURCES)).to_owned()),
            ("{n}", dice.between(12, 940).to_string()),
            ("{few}", dice.between(2, 9).to_string()),
            ("{ticket}", format!("CHG-{}", dice.between(20_400, 21_900))),
        ];
        Self { words }
    }

    /// Makes a cast of these placeholders with their values.
    pub(super) fn of(words: Vec<(&'static str, String)>) -> Self {
        Self { words }
    }

    /// Returns a template with its placeholders replaced.
    pub(crate) fn fill(&self, template: &str) -> String {
        let mut text = template.to_owned();
        for (word, value) in &self.words {
            if text.contains(word) {
                text = text.replace(word, value);
            }
        }
        text
    }
}

pub(super) fn address(name: &str) -> String {
    format!("{}@{DOMAIN}", name.to_lowercase().replace(' ', ".").replace('ö', "o"))
}

fn workstation(employee: &Employee, dice: &mut Dice) -> String {
    format!("{}-ws-{:03}", employee.unit, dice.between(11, 180))
}

fn outside(dice: &mut Dice) -> String {
    format!("{}.{}", dice.pick(&["192.0.2", "198.51.100", "203.0.113"]), dice.between(2, 250))
}
