"""Every bound of the simulator, units last, each with its reason."""

from __future__ import annotations

from reference_server.wire.units import MILLISECOND_NS, SECOND_NS

MACHINES_MAX = 1_000_000
"""More than the 16 million loopback addresses and one shard's memory (12 KB each) are meant for."""
OWNERS_MAX = 10_000
OWNERS_REMEMBERED = 4_096
"""Owners whose name in events is kept for all their machines: of more, some are written anew."""
DURATION_MAX_SECONDS = 7 * 86_400
"""A week: what a history of 64 bytes a request still fits in memory at a modest rate."""
OWN_CERTIFICATE_DAYS = 30
"""From a run's start, both ways, that its own certificate is good for: longer than any run, and than a clock steps."""
SEED_MAX = (1 << 63) - 1
"""What a signed 64-bit integer holds: TOML promises no more, and no reader of verdict.json is surprised."""
ATTACK_RATE_MAX = 10_000
STATUSES_READ_MAX = 20_000
"""Machines whose status is read after a fault: forty pages, and hardly a second of a server's time."""
INSTANCES_MAX = 16
"""Servers of one run: more than any machine that plays the fleet as well has cores for."""
COMMAND_START_SECONDS = 60.0
"""How long a scenario's own command may take until it is ready: twice what the reference server may, since it may have
to compile itself."""
TREE_ROUNDS_MAX = 250
"""How often all that came of a command is sent a signal until it is as it should be: five seconds, while it forks."""
HEALTH_ANSWER_MAX_BYTES = 4096
"""Of a health path's answer, whose first line alone is read."""
FAULTS_MAX = 100
"""Each costs a server a second or so, in which a run proves nothing else."""
ATTACKS_MAX = 200
"""A history row has one byte for the campaign."""
SCENARIO_MAX_BYTES = 1 << 20
SCENARIO_PROBLEMS_MAX = 20
"""Faults of shape that are looked for in one scenario: each costs another look at all of it."""
SCENARIO_DEPTH_MAX = 32
"""Tables and lists within one another: a scenario's nest five deep, and what reads them calls itself for each."""
ONBOARDING_MAX_CONCURRENT = 32
"""Machines registering at once: enough to keep a server busy, too few to time out behind each other."""
POLICY_PATIENCE_SECONDS = 40.0
"""One owner's policy, from first try to last: a run that cannot begin says so within a minute."""
ANSWER_TIMEOUT_SECONDS = 10.0
LAST_ANSWERS_SECONDS = 3.0
"""What is under way when a run ends may take as long: what comes later nobody waits for."""
SILENCE_SECONDS = 3.0
"""How long nothing is answered before somebody asks what still is, and how long from one asking to the next."""
CONNECT_SLOW_NS = 50 * MILLISECOND_NS
"""A connection that took longer to come up is noted, lest the harness be blamed: a tenth of what it may be late."""
ANSWER_MAX_BYTES = 4 << 20
"""An answer longer than this is not one of this API's."""
ANSWER_HEAD_MAX_BYTES = 64 << 10
"""Of its head: what the contract allows a request (§6)."""
HEARTBEAT_ANSWER_MAX_BYTES = 64 << 10
"""An answer to a heartbeat, a few hundred assignments included: thousands of machines may each wait for one."""
ATTACKER_RATE_PER_SECOND = 4.0
"""Requests a second from one attacker's address: inside the default limit of 5, so that refusals say something."""
ADDRESS_BURST_REQUESTS = 16
"""Requests from one address of a script before it takes another: inside the default burst of 20, at any speed."""
AUDIT_NOISE_EVENTS = 6000
"""Events one attempt to evict another's audit makes: more than the 5,000 that a stream keeps by default."""
REFUSALS_KEPT_MIN = 100_000
"""Refusals of all owners together, from which on a server may keep fewer of one than its own bound says: what
strangers can fill has a bound in all (contract §3)."""
EXCHANGE_MAX_SECONDS = 60
"""From a request's first byte to its row: the longest deadline of the contract, and what a slow attack waits on top."""
HOSTS_MAX = 127
"""Hosts that play parts of one run: what a history row has room for beside an address."""
HISTOGRAM_MAX_NS = DURATION_MAX_SECONDS * SECOND_NS
"""The longest duration a histogram tells apart: no run is longer."""
HISTOGRAM_COUNT_MAX = 1 << 48
"""Durations in one histogram: nine years at a million a second, and thousands of them add up in 64 bits."""
LATENCIES_KEPT = 50_000
"""Response times of the last seconds that the live view's percentiles are of: half a megabyte."""
CHANGES_KEPT_MAX = 1_000
"""Beginnings and ends of faults, attacks and alerts that nobody has looked at yet: twice what a scenario can have of
the first two. A run that nobody watches never looks."""
THRESHOLD_LOOK_MAX_SECONDS = 0.1
"""What one look at how the thresholds stand may cost of a CPU while a run goes on: nothing is sent meanwhile, and this
is a fifth of what the harness may be late. A history for which it takes longer is not looked at again until its end."""
FINDINGS_MAX_BYTES = 2 << 20
"""Findings of one verdict, as JSON: some thousands, and of all checkers together what an editor still opens."""
WAITS_JUDGED_MAX = 1_000
"""Jobs that waited that are held against what was listed, and against other accounts' jobs, of which there are as many:
what fails them fails many, and each costs a look at all others."""
TURNS_JUDGED_MAX = 4_000_000
"""Looks at one job while another waited, to see whose turn it was: some seconds. What was not looked at is said."""
PRICES_JUDGED_MAX = 40_000
"""Pairs of a job's price and a machine that offered something then: some seconds of looking."""
FINDINGS_SHOWN_MAX = 20
"""Findings of one verdict that a report page shows; verdict.json has the rest."""
AUDIT_MOVED_MAX = 20
"""Kinds of events that are missing, and as many that are too many, of which it is looked for what belongs together."""
VICTIMS_MAX = 200
"""Machines one campaign attacks at most; more would only dilute the evidence."""
EVIDENCE_MAX_BYTES = 16_384
"""How much of a message is kept as evidence: an attack of a megabyte needs no megabyte to be understood."""
SCRAPES_SHOWN_MAX = 3_600
"""Scrapes written as OpenMetrics: an hour of one a second, 10 MB; a longer run is thinned out evenly."""
ERROR_SHOWN_MAX_CHARACTERS = 200
"""Of a server's own message in a sentence: many times the contract's longest."""
EXCHANGES_MAX = 500
"""Exchanges kept whole as evidence; a thousand like the first would say no more."""
OUTAGES_KEPT_MAX = 100
"""Exchanges after which no refusal for an outage is kept: a fault of the run makes many, and proves nothing by them."""
HEALTH_READINGS_MAX = 200
"""Times that a silent target is asked for its health page: ten minutes of it, and more would say no more."""
DEVIATIONS_MAX = 300
"""Ways in which answers deviate, by rule and route: every rule on several routes; routes of attacks may be made up."""
DEVIATION_EXCHANGES_MAX = 2
"""Exchanges kept of each such way: the first, and one more that shows it was no chance."""
CERTIFICATES_VERIFIED_MAX = 2_000
"""Certificates whose signatures are verified, spread evenly over a run: a quarter of a second at 120 µs each."""
UNASKED_SHOWN_MAX_BYTES = 65_536
"""Of bytes that nobody asked for: one read of a socket."""
STATUS_OWNERS_MAX = 4
"""Owners whose statuses and summaries are read at the end of a run, spread evenly: each is a page of 500 or more."""
STATUS_PATIENCE_SECONDS = 2.0
"""For all of them: a server that has just answered needs milliseconds."""
METRICS_MAX_BYTES = 1 << 20
METRICS_LINE_MAX_CHARACTERS = 500
"""A line of a metrics page: its parser takes time with the square of a line's length."""
METRICS_SAMPLES_MAX = 2000
"""A metrics page, many times over: each scrape of it is kept, and all of them are judged."""
TROUBLES_MAX = 50
"""Causes for missing answers that are told apart; a target that makes up new ones is told by the first."""
TROUBLE_MAX_CHARACTERS = 300
"""Of the words for one cause, which may hold what the target said."""
SLOW_CONNECTIONS_MAX = 500
"""Connections that one attempt of a slow attack holds: what exhausts a server with a thread or a place for each."""
SLOW_READERS_MAX = 32
"""Clients that do not read: each costs a server several large answers, so that more would be load, not attack."""
STRAIN_BODIES_MAX = 300
"""Bodies of 1 MiB that one attempt leaves unfinished: several times what a server may hold of them."""
STRAIN_LEAVING_MAX = 300
"""Clients that leave such a body behind: enough to show in a server's memory if it kept what they had sent."""
STRAIN_CONNECTIONS_MAX = 1_200
"""Silent connections of one address: more than the usual soft limit on open files, 1,024."""
STRAIN_HEADS_MAX = 200
"""Heads of 64 KiB that one attempt leaves unfinished: 13 MB, and with the whole ones some 60 MB sent."""
STRAIN_READERS_MAX = 32
"""Clients that ask for megabytes of answers and do not read: as many as of large answers (`SLOW_READERS_MAX`)."""
UNFINISHED_BLOCK_FRAMES = 5_000
"""Pieces of one header block that never ends, ten bytes each: five times what any client's longest one takes."""
REPEATED_FIELDS = 60_000
"""Bytes that each bring back a field of four kilobytes (RFC 7541 §6.1): 240 MB for a server that keeps them all."""
RESET_STREAMS_MAX = 5_000
"""Streams that are opened and reset on one connection: far more than a client that changes its mind."""
PROBES_MAX = 30
"""Requests that may show what a 429 is like: half again the burst that the contract allows."""
PEERS_MAX = 64
"""Addresses of one IPv6 /64 that a script speaks from: three times a bucket's burst, so that one bucket shows."""
SANDBOXES_MAX_CONCURRENT = 4
"""Attempts that have servers of their own, at the same time: each is two or three more processes on the same cores."""
SCRIPTS_MAX_CONCURRENT = 64
"""Attempts of scripted attacks under way at once, over all campaigns; more would be load, not attack."""
SCRIPT_CONNECTIONS_MAX = 12_000
"""Connections that attempts under way hold at once, over all campaigns: ten attempts of the costliest attack. Live, an
address has 28,000 ports. In virtual time each is a task; of those a second ends 4,000 when a run is interrupted."""
BUNDLE_ROWS_MAX = 100_000_000
"""Rows of a stored history that are read again: a day at 1,000 requests a second, and 6 GB in memory."""
BUNDLE_SHRINK_MAX = 50
BUNDLE_SMALL_BYTES = 64 << 20
"""A history unpacks to this much, or to so many times its size on disk: its random nonces never pack better."""
BUNDLE_TABLE_MAX_BYTES = 1 << 30
"""A side table, unpacked: five million records of the usual size."""
BUNDLE_LINE_MAX_BYTES = 64 << 20
"""One record of a side table: an exchange of the largest request and answer, in base64, many times over."""
BUNDLE_RECORD_MAX_BYTES = 64 << 20
"""`run.json`, `verdict.json` and `manifest.json`: what a metrics page of the largest size makes of the first."""
BUNDLE_FILES_MAX = 1000
"""Files of one bundle; a run writes about twenty, and people add some."""
PLOT_COLUMNS_MAX = 600
"""Points across a plot: about one a pixel, so that a report of a week is no larger than one of ten minutes."""
HOVER_AREAS_MAX = 150
"""Pieces of a plot that have figures to hover over: six pixels each, and some 30 KB a plot."""
SPANS_DRAWN_MAX = 400
"""Faults, silences, attacks and alerts that are drawn: twice what one scenario may have of attacks."""
ATTACK_LANES_MAX = 16
"""Attacks with a lane each in the drawing of what happened when; the matrix below has a time line for each."""
CAMPAIGN_BARS_MAX = 60
"""Bars of one campaign's own time line: as many as its width has room for."""
CAMPAIGN_BARS_ALL_MAX = 2_000
"""Bars of all campaigns together: half a megabyte of a page, and at worst, each in four colours, one."""
EVIDENCE_SHOWN_MAX_CHARACTERS = 2000
"""Of one text of a finding, in a report; verdict.json has all of it. Keeps a page of hostile answers below its size."""
SCENARIO_SHOWN_MAX_CHARACTERS = 60_000
"""Of a scenario file, in a report: any that people write."""
TAPE_MAX_BYTES = 512 << 20
"""What a recorded run keeps in memory: six minutes of 1,000 exchanges a second, beside a fleet of 5,000."""
TRACE_LINE_MAX_BYTES = 32 << 20
"""One exchange: an answer and a request of the largest size, escaped as JSON or in base64."""
TRACE_EXCHANGES_MAX = 5_000_000
"""Exchanges of one trace that are read again: more than a full tape of the smallest ones holds."""
REDACTION_CACHE_MAX = 50_000
"""Words whose redaction is remembered: a fleet's own, again and again; nonces only pass through."""
HAR_MAX_BYTES = 256 << 20
"""A HAR is one JSON value, so all of it is in memory at once, several times its size."""
REPLAY_WAIT_SECONDS = 15.0
"""How long a replayed exchange waits for those it builds on: the longest wait for an answer, and half again."""
REPLAY_REST_SECONDS = 20.0
"""A connection that rested longer is opened anew, lest the server close it as the next request leaves."""
REPLAY_MAX_CONCURRENT = 4000
"""Exchanges under way at once; more than a machine of two cores answers in its patience."""
POLICIES_SHARED_MAX = 256
"""Rules of policies that machines have in common; with more owners than that, each has few machines that share them."""
AUDIT_EVENTS_READ_MAX = 60_000
"""Audit events read at the end of a run: 6 MB packed, 80 MB once they are judged, and a second or two of hashing."""
AUDIT_BYTES_READ_MAX = 128 << 20
"""What those events may take as they come: 2 KB each, several times what one of the contract's has."""
EVENT_DEPTH_MAX = 16
"""How deep an audit event may be nested; the contract's metadata is flat, and every reader of it recurses."""
AUDIT_KEPT_MIN = 1000
"""Events that are shown, from which on a server may have dropped older ones: it keeps some number of them."""
AUDIT_LOOKS_MAX = 2000
"""Looks at audit heads during a run, so that one of a week keeps no more of them than one of ten minutes."""
AUDIT_WATCHING_SHARE = 0.02
"""Of one core, what those looks may cost the server under test."""
AUDIT_READING_SHARE = 0.05
AUDIT_READING_MIN_SECONDS = 3.0
AUDIT_READING_MAX_SECONDS = 20.0
"""Reading whole audit lists may take this share of a run, between these two; enough for a hundred pages or more."""
CAPACITY_STEPS_MAX = 40
"""Steps of one search for a capacity: eight doublings, five bisections, each up to three times."""
CAPACITY_TOTAL_MAX_SECONDS = 3600.0
"""After this no step begins: a search that has found nothing in an hour will not."""
CAPACITY_RATE_MAX = 100_000
"""Heartbeats a second: several times what one process can send."""
CAPACITY_MACHINES_PREFERRED = 1000
"""Machines of a step, while they can beat faster instead: each costs several requests before the step counts."""
CAPACITY_INTERVAL_MIN_SECONDS = 0.25
"""Of one machine in a step: four heartbeats a second from its address, inside the default rate limit of five."""
STATE_FILE_MAX_BYTES = 256 << 20
"""A state file that is looked into: about three times what 100,000 machines take, and what a laptop's memory holds."""
STATE_PROBLEMS_SHOWN_MAX = 20
"""Things wrong in a state file that are named; more of them say nothing else about what became of it."""
FRAME_MAX_BYTES = 256 << 20
"""One message between processes of a run: a second's rows of the fastest shard are 3 MB, a stalled minute's 150."""
SHARD_OTHER_MACHINES_MAX = 10_000
"""Machines that a shard's scripts register, and as many that its worker's owners do, before numbers meet the next's."""
WORKER_WAIT_MAX_SECONDS = 3600.0
"""How long a worker may be told to wait for its master: one that is forgotten shall not stay for ever."""
WORKER_SILENCE_MAX_SECONDS = 20
"""Without a word from a worker until it counts as lost: one among many busy programs may not run for some seconds."""
SHARDS_MAX = 32
"""Workers of one run, those that come after others were lost among them."""
USER_RATE_MAX = 100.0
"""Requests a second of one owner; more than people and their dashboards ask."""
LOAD_USERS_MAX = 4000
"""Users of one kind: Locust's own share of one core is used up well before."""
ADDRESSES_MAX = 16
"""Addresses of one name that are tried: more than any load balancer publishes that clients could use."""
RESOLVE_MAX_SECONDS = 3.0
"""How long all addresses of a name may take to show that one can be connected to; then the first is left to say why."""
TOKEN_FILE_MAX_BYTES = 4096
"""A file with a token: what servers allow of one header, and more than any token has."""
HEADERS_MAX = 20
"""Headers of the way to a target: more than any gateway asks for."""
HEADERS_MAX_CHARACTERS = 8192
"""Of all of them together: beside them a request must fit what servers allow of a head."""
CERTIFICATES_MAX_BYTES = 4 << 20
"""Authorities to be trusted: several times what systems trust."""
ADDRESS_PROBE_BURST_MAX = 200
"""The largest burst that is used up to find out how a target tells addresses apart: more would be load."""
ADDRESS_PROBE_MAX_SECONDS = 5.0
"""How long that may take; a target that takes longer is too slow to tell one refill from the next."""
UNSERVED_MAX = 1000
"""Calls of owners and readings that failed, and have no row: a run makes a few a second, and more say nothing else."""
LAST_WORDS_MAX_CHARACTERS = 2000
"""Of what a server wrote before it ended by itself: the end of a traceback, which says what failed."""
LAST_WORDS_SHOWN_MAX_CHARACTERS = 200
"""Of the last line of it, within a sentence; the rest is in the evidence."""
FITTED_SCRAPES_MAX = 300
"""Scrapes that other settings are tried on, some sixty times each; all of them are judged by what is found."""
MARKET_AGENTS_MAX = 500
"""Agents that one process plays: at a request a second each, some share of one core."""
ACCOUNTS_READ_MAX = 600
"""Accounts that are read at the end of a run: every agent of the largest market, and some owners."""
ACCOUNTS_PATIENCE_SECONDS = 15.0
"""For all of them, a handful of requests each, and up to thirty: within what a worker may take to finish."""
ACCOUNTS_MAX_CONCURRENT = 64
"""Accounts that are read at once, each from an address of its own: four requests a second of each at most."""
ACCOUNT_PAGES_MAX = 10
"""Pages of one list: five times what a right server shows of transactions (contract: Bounds)."""
ACCOUNT_WITHDRAWALS_MAX = 12
"""Withdrawals of one account that are looked at again at the end, the last ones: others had long to come to rest."""
ACCOUNT_TRIES_MAX = 5
"""Tries of one reading: where all share an address, others use up its tokens as well."""
JOBS_AT_WORK_MAX = 64
"""Jobs that one machine works on: several times what its capacity has room for. Of more it notes that it was told."""
OTHERS_ASKED_MAX = 20
"""How often one agent asks for what is another's: enough that every run has some, and little of what is asked."""
OTHERS_LOOKED_AT_MAX = 200
"""Exchanges, the last ones, in which an agent finds another's id: a minute of a small market, a second of a large."""
FOREIGN_JOBS_KNOWN_MAX = 200
"""Jobs of other machines that a wrong one may report the end of."""
ACCOUNTS_SHOWN_MAX = 100
"""Accounts in a report's table, those with most jobs first; the history has all of them."""
IDENTITY_REQUEST_MAX_BYTES = 64 * 1024
"""What a server asks of a provider that an attack plays: the longest identity that is tried has 5,000 characters."""
IDENTITY_REQUEST_SECONDS = 30.0
"""How long such a request may take to come: a server that is under attack gives up long before."""
COMPARED_ROUNDS_MAX = 200
"""Rounds of one measurement that are compared: twenty thousand averages, and the chances of each sum of their ranks."""
COMPARED_PARTS = 20
"""Parts of a run that stand for rounds: enough to be sure, and each long enough that noise does not last over two."""
BENCH_RESULT_MAX_BYTES = 4 << 20
"""A benchmark's result: a few kilobytes, with hundreds of rounds of dozens of figures a megabyte."""
LOG_KEPT_MAX_BYTES = 16 << 20
"""Of what one server logs: a line for each request of a long run; of more it is said that it was not kept."""
LOG_END_SECONDS = 5.0
"""For reading the last words of servers that have ended: they are there, but what outlives one may keep its pipe."""
HURRIED_STOP_SECONDS = 0.5
"""For a server to end in order once nobody waits any more: many times what a right one needs, and hardly seen."""
SECRETS_KNOWN_MAX = 200_000
"""Secrets that are looked for in logs: a token and a cookie of each of the most machines that one process plays."""
SECRET_LOOKED_FOR_MIN_BYTES = 8
"""Of a secret that is looked for: a shorter one is a word that any log may hold."""
SECRET_WORD_MAX_BYTES = 15
"""Of a setting of nothing but letters that is taken for a word: `development` as a token is found in any log."""
LEAKS_SHOWN_MAX = 20
"""Places in logs that are named; more of them say nothing else about what writes secrets there."""
VIRTUAL_SECONDS_AFTER = 3_600.0
"""Virtual seconds that a run may take past its scenario's duration: all that it waits for at its end is over then."""
REQUEST_LINES_MAX = 200
"""Lines of the table of requests: all operations times the statuses that a server of this API has, many times over."""
FILES_LINKED_MAX = 200
"""Files beside a report that it names: a run writes about fifty, most of them tables of its history."""
RESULTS_READ_MAX = 5_000
"""Stored runs that are looked at to list the newest: some seconds of reading their verdicts."""
RESULTS_SHOWN = 20
"""Stored runs that are listed where nobody says how many."""
VIRTUAL_PAST_END_SECONDS = 600.0
"""What a run in virtual time that is past its time may still take, for what is shielded from its end: a full disk or a
client that waits takes a tenth of that."""
FUZZ_ROUND_SEEDS = 16
"""Scenarios that are drawn before what they cover counts: enough for all cores until the slowest ends."""
FUZZ_COLLECTED_RUNS = 16
"""Runs until what they left in circles is collected: a megabyte each, and looking takes as long as a tenth of a run."""
FUZZ_SEEDS_MAX = 1_000_000
"""Of one search: a week and more of a core, and a list of what failed that fits on a page."""
FUZZ_JOBS_MAX = 64
FUZZ_UNDECIDED_MAX = 100
"""Scenarios of which nobody could know that a search's summary names: they are alike long before."""
FUZZ_UNDECIDED_SHOWN = 5
"""Of those, the ones that are printed: a screen has room for what else was found."""
SHRINK_TRIES_MAX = 300
"""Runs to make a failing scenario small: most are small after fifty, and each is shorter than the last."""
SEQUENCE_ROWS_MAX = 400
"""Exchanges of a drawing: more is no longer looked at, and the trace has them all."""
CROSS_LATE_SECONDS = 1.0
"""By how much later than virtual time a live run may show an alert besides its scrapes: a busy machine, and its start,
whose first requests take virtual time next to nothing."""
CROSS_SHIFT_SECONDS = 0.25
"""By how much later the machines of a live run may come and go, on average: they register over sockets, and each start
moves what is left of the run for a machine."""
CROSS_LOCUST_SHIFT_SECONDS = 1.0
"""By how much earlier or later users and machines may come and go that Locust starts and stops: it looks once a second
who is to run."""
CROSS_CAMPAIGN_SHARE, CROSS_CAMPAIGN_SPARE = 0.1, 10
"""By which share, and how many requests besides, what a campaign sent may differ between virtual time and a live run:
scripts go on as they are answered, and what is under way at the end of one is not sent in the other."""
NETWORK_LATENCY_MAX_SECONDS = 2.0
"""By which a fault of the network delays bytes each way: with a handshake half of a client's patience. Parts of one
answer are delayed together, up to what is held of it (`PROXY_HELD_MAX_BYTES`), so that it loses nothing."""
REDIS_UNSYNCED_SECONDS = 1.0
"""What a Redis that crashes loses of what it was told: what may not be synced yet with `appendfsync everysec`."""
SERVER_CLOCK_OFF_MAX_SECONDS = 60
"""How far a fault may set a server's wall clock: two thirds of what a heartbeat's stamp may be off (contract §4), so
that machines whose clocks are right are served all the time."""
SHARED_CLOCKS_OFF_MAX_MS = 200
"""The same of one of several instances, which take the times of what they share from each other: less than what
checkers allow of an age that is shown in whole seconds."""
PROXY_HELD_MAX_BYTES = ANSWER_MAX_BYTES
"""What a network that delays holds of one way of a connection: the longest answer that a client reads. More waits where
it was sent."""
PROXY_CONNECTIONS_MAX = 20_000
"""Through one proxy of a run's own: two for each machine of the largest fleet that one process plays with open files to
spare."""
COPY_SECONDS = 2.0
"""For the answer to a copy that the network made of a request, which its own answer waits for: a server that does not
answer within it has lost the copy."""
FUZZ_LIVE_SHRINK_SECONDS = 300.0
"""To make a scenario small that failed live: some thirty runs, and most are small after twenty."""
