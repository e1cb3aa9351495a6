"""Every bound of the reference server, units last, each with its reason."""

from __future__ import annotations

BODY_MAX_BYTES = 1 << 20
"""A request body (contract §1). Nothing more than this is ever buffered."""
HEAD_MAX_BYTES = 64 * 1024
"""A request line with all its headers (contract §6)."""
CHUNKS_AT_ONCE = 128
"""Chunks and trailers of a body that are read before others have their turn: a third of a millisecond's work."""
HEADER_FIELDS_MAX = 100
"""Headers of a request; more cost memory out of proportion to their bytes, and browsers behind proxies send thirty."""
AUTHORITY_MAX_BYTES = 1024
"""A host name has 255 bytes at most, a bracketed address fewer; there is no reason for more."""
HEAD_COPIES, HEADER_FIELD_BYTES = 4, 300
"""What a head that was read costs while its body is awaited: as bytes, as text and by name, and objects a header."""
LANE_HEAD_MAX_BYTES = 4 * 1024
"""The head of a plain heartbeat is a tenth of this; larger ones are read as any other request is."""
LANE_BODY_MAX_BYTES = 32 * 1024
"""A heartbeat that is read at a glance: 16 KiB of metrics and room for the rest. Larger ones are read as any other."""
LANE_BATCH_ANSWERS = 256
"""Answers the express lane gives before it lets Trio's other tasks run: about 8 ms of work."""
LANE_DECIDED_TOGETHER = 64
"""Heartbeats of as many connections that are decided before the first is answered: 2 ms of work."""
LANE_ANSWERS_AT_ONCE = 8
"""Answers a connection gets before others have their turn, however much it has pipelined: 0.3 ms of work."""
LANE_ANSWERS_MAX_BYTES = 256 * 1024
"""Answers that may wait unsent before the next pipelined request is decided: as much as a socket's buffer takes."""
LANE_LIMITED_AT_ONCE = 64
"""Connections over their rate limit that are refused in one turn, after all others are served: 0.9 ms of work."""
CONNECTIONS_MAX = 100_000
"""Open connections; past it those that have proven nothing make room. One idle connection costs about 2 KB."""
FILES_KEPT = 64
"""Open files that connections leave for all else: state files, Redis, listening sockets, and room to spare."""
PROXY_HEADER_MAX_BYTES = 1024
"""A header of the PROXY protocol: 232 bytes with the longest addresses, and what proxies add of TLS and of clouds."""
FORWARDED_HOPS_MAX = 16
"""Addresses of `X-Forwarded-For` that are looked at, from the right; a request that passes more proxies is counted for
the last of these."""
FORWARDED_ADDRESS_MAX_CHARACTERS = 64
"""One of them: the longest IPv6 address with brackets and a port has 53."""
FORWARDED_ADDRESSES_KEPT = 4096
"""Addresses that are remembered as they were read, 300 bytes each: reading one takes as long as five look-ups."""
TRUSTED_PROXIES_MAX = 1_000
"""Networks of proxies; the largest clouds name a few hundred."""
TRUSTED_PROXIES_WIDEST_BITS = {4: 8, 6: 7}
"""The shortest prefixes of such networks: the widest that belong to one site, 10.0.0.0/8 and fc00::/7."""
TLS_RECORD_BYTES = 16_384 + 512
"""The longest TLS record (RFC 8446 §5.2): so much is read at once, and kept of one of which a part has come."""
TLS_QUIET_RECORDS_MAX = 64
"""TLS records in a row with nothing for us in them, as new keys: a client needs a few. Each costs a key derivation."""
LINGER_SECONDS = 2.0
LINGER_MAX_BYTES = 8 * BODY_MAX_BYTES
"""After a last answer the client may still be sending; reading on for a moment lets it see that answer."""
DEFERRED_MAX = 10_000
"""Answers that wait for a nonce store or the journal; past it nothing more is decided until they are out. 5 MB."""
INQUIRIES_MAX = 64
"""Questions asked at once of each who is asked outside: logins of a few hundred people in a second. Each takes a
connection and a task; past it those who come are told that whoever would answer is unavailable. One that answers slowly
takes nobody else's room."""
INQUIRY_SECONDS = 10.0
"""How long an answer from outside may take: all exchanges of a login together, and a person still waits for it."""
STATUSES_AT_ONCE = 500
"""Workers whose status is written to the legacy file before others are served: a millisecond's work."""
JOURNAL_MIN_BYTES = 16 * 1024 * 1024
"""The journal may grow so far at least before a snapshot takes its place: 140,000 heartbeats, read in a second."""
SNAPSHOT_PIECE_BYTES = 256 * 1024
"""What a snapshot is written in: a hundred machines' records or so to a system call."""
CHILD_SILENCE_SECONDS = 60.0
"""How long a child that writes a snapshot may not get on before it is ended: sorting ten million audit events takes
half of it."""
STOP_SNAPSHOT_SECONDS = 15.0
"""How long a server that stops waits in all for snapshots, the one being written and a last one: nothing is lost
without them, as the journal has it all. With the grace for requests, and what else takes a moment, that is less than
the 30 s after which containers are killed."""
CHILD_END_SECONDS = 1.0
"""How long a child may take to end once it is killed; one whose disk does not answer cannot, and is left behind."""
COMMIT_RETRY_SECONDS_MAX = 5.0
"""How long to wait at most before storage that failed is tried again; it starts with a tenth of a second."""
SNAPSHOT_RETRY_SECONDS, SNAPSHOT_RETRY_SECONDS_MAX = 5.0, 300.0
"""How long to wait before a snapshot that failed is tried again, and at most, after twice as long each time: it may
take as much work each time, and nothing is lost without it."""
SNAPSHOT_LOOK_SECONDS = 0.25
"""How often it is looked whether that time has come."""
OPEN_FILES_ENOUGH = 4096
"""Files that may be open, one for each connection: with fewer a start warns, for a fleet of thousands finds no room."""
SEND_BUFFER_BYTES = 128 * 1024
"""What the kernel keeps of answers for a client that does not read them; Linux takes twice as much, and would take 4 MB
on a fast network by itself. It is more than a hundred heartbeats' answers, or most lists."""
LISTEN_BACKLOG = 4096
"""What Linux allows by default; a fleet of thousands connects within a second or two."""

NONCE_MAX_CHARACTERS = 128
METRICS_MAX_BYTES = 16 * 1024
METRICS_MAX_DEPTH = 8
"""The three of contract §4, check 3."""
NONCES_MAX = 8_000_000
"""Live nonces. Past it heartbeats get 503, because forgetting one early would let a replay in. About 75 bytes each."""
NONCE_GENERATIONS = 4
"""Buckets a nonce's lifetime is cut into; each is one more look-up a heartbeat, and fewer keep nonces longer."""
NONCES_A_MACHINE_MAX = 16_000
"""Nonces of one machine in a quarter of their lifetime (75 s): 200 heartbeats a second, where one in five seconds is
common. So one machine takes a hundredth of NONCES_MAX at most, and gets 429 for more."""
NONCES_ASIDE_MAX = 1_000_000
"""Nonces past their time to live whose stamps a wall clock that ran ahead has left in its future, 75 bytes each: 280
heartbeats a second for an hour. Past it the stretch of time that they are stamped in is refused when it comes."""
NONCE_STRETCHES_MAX = 8
"""Such stretches: each is a clock that ran ahead. Past it the two nearest become one, with what is between them."""

MACHINES_MAX = 1_000_000
POLICIES_MAX = 1_000_000
CONSENTS_MAX = 2_000_000
OWNERS_MAX = 200_000
"""Tables past which creation gets 503: 1 GB or so each, far above what one process is meant to hold."""
TEXT_MAX_CHARACTERS = 256
"""Owner ids and machine names; so that a record has a known largest size."""
UNKNOWN_ID_MAX_CHARACTERS = 64
"""How much of an unknown worker's id is kept in the stream that no owner sees."""
UNATTRIBUTED_EVENTS_MAX = 5_000
"""Events that concern no owner: kept for the operator, bounded apart from every owner's streams."""
MARKET_OF_AGENTS_EVENTS_MAX = 50_000
"""What agents did on the market, who see no audit: for the operator, some of each of the jobs and payouts of a day."""
AUDIT_ROUTINE_MAX_BYTES = 1 << 30
"""Accepted heartbeats in the streams of all owners: 14 million, or what 2,900 owners keep by default, or the newest 67
of each of 200,000 owners: the first of every 256 costs 500 bytes more."""
AUDIT_NOTABLE_MAX_BYTES = 1 << 30
"""Changes in the streams of all owners: two million, ten of each of 200,000 owners. Whoever holds the owners' token may
make owners up, so there is a bound, but one that takes as many requests as there are events to reach."""
AUDIT_REFUSED_MAX_BYTES = 64 << 20
"""Refusals in the streams of all owners, and in nobody's: 130,000. Strangers can fill it, and a snapshot that instances
share has to have room for all of it many times over."""
AUDIT_MARKET_MAX_BYTES = 128 << 20
"""Events of jobs, payouts and logins in the streams of all owners: 260,000, a few for each job that is kept."""

SESSIONS_MAX = 100_000
"""Sessions, 700 bytes each (contract: Bounds)."""
BROWSERS_A_PERSON_MAX = 20
"""Sessions of one person's browsers: phones, computers, and those that were left signed in within their 12 hours. Past
it the oldest ends with its tokens, so nobody takes up the room of others."""
TOKENS_A_PERSON_MAX = 20
"""Tokens of one person's programs, a few for each of a few programs. Past it one of them ends. They are counted apart
from browsers: a program, or whoever stole its token, must put no browser out, and no sign-in must fail for them."""
NEW_KEY_LIFE_SECONDS = 60
"""How long a new key may take to the page that shows it: a redirect on a slow phone. It is in a cookie meanwhile and
nowhere else, so who does not follow in time makes another."""
PAGE_ROWS = 50
"""Rows of a list on a page for people: what fits in a few screens, in 40 KB of HTML."""
PAGE_ALERTS_MAX = 8
"""Workers and refusals that are named among the alerts; the pages of fleet and audit have the rest."""
PAGE_WORKERS_MAX = 5_000
"""Workers that are looked through for those to name among the alerts: 10 pages of the list, some 20 ms. Whoever has
more, nearly all of them heard from, is told how many are not, and to see the fleet."""
LOGIN_LIFE_SECONDS = 600
"""How long somebody may take to log in with a provider (contract: Logins)."""
LOGINS_USED_MAX = 100_000
"""Logins that were used and could still be tried again, 300 bytes each: 80 a second. Past it logins get 503, because
forgetting one early would let it be used twice."""
RETURN_TO_MAX_CHARACTERS = 1_000
"""A path of this server to go to after a login: with it a cookie has 1.5 KB, of the 4 KB that browsers take."""
LOGIN_ANSWER_MAX_CHARACTERS = 16 * 1024
"""What a browser brings back from a provider, where a code and a person's name have 2 KB at most."""

LOGIN_CLOCK_LEEWAY_SECONDS = 60
"""How far a provider's clock may be off this server's, when it says from when and until when its tokens count."""
FETCH_SECONDS = 4.0
"""How long one exchange with a provider may take: two, as a login with Google has, fit into an inquiry."""
FETCH_MAX_BYTES = 256 * 1024
"""An answer of a provider: key sets have 10 KB, and a user's addresses 100 KB where there are a thousand."""
JWKS_LIFE_SECONDS, JWKS_REFETCH_SECONDS, JWKS_RETRY_SECONDS = 3600, 60, 2
"""How long a provider's keys are believed, how long they are not fetched anew for a key that is not among them, and how
long not when they could not be fetched: whoever waited for that fetch does not wait for another of his own."""
KARMA_MAX = 1 << 53
"""What Moltbook says of an agent: JSON numbers are exact up to here, and what is kept has to be written."""
RSA_KEY_MIN_BITS = 2048
"""A provider's key: what RFC 7518, 3.3, asks for."""
ID_TOKEN_MAX_CHARACTERS = 16 * 1024
"""An ID token: they have 1 KB or 2."""
SUBJECT_MAX_CHARACTERS = 255
"""Who somebody is for a provider (OpenID Connect Core 1.0, 2); an agent's id and name at Moltbook, too."""
MAIL_ADDRESS_MAX_CHARACTERS = 320
"""An address of mail: 64 characters, @, and 255 (RFC 5321, 4.5.3.1)."""
APPLE_SECRET_LIFE_SECONDS = 300
"""How long the secret made for one exchange with Apple counts; it may be half a year."""
MOLTBOOK_KEPT_SECONDS = 300
"""How long what Moltbook said of a token is believed: a twelfth of the hour that tokens live."""
MOLTBOOK_KEPT_MAX = 10_000
"""Tokens that are remembered, 500 bytes each; past it Moltbook is asked again for the oldest."""
MOLTBOOK_TOKEN_MAX_CHARACTERS = 4096
"""An identity token; a longer one is none, and nobody is asked."""

RATE_LIMIT_BUCKETS_MAX = 200_000
"""Client addresses with a live token bucket, 100 bytes each; past it the ones unused for longest are forgotten."""
RECENT_FAILURE_BUCKETS_MAX = 65_536
"""Steps the auth-failure window is counted in; failures within one step share a bucket (4.6 ms of 300 s)."""
QUERY_FIELDS_MAX = 100
"""Fields of a query: 64 KiB of ampersands would cost 30 ms to take apart, and no call has a dozen."""
LIST_LIMIT_DEFAULT = 100
LIST_LIMIT_MAX = 500
"""Contract §1."""
JSON_MAX_DEPTH = 64
"""Nesting of a request body outside heartbeats; deeper is refused before it costs stack."""

REDIS_WAIT_SECONDS = 0.2
"""How long Redis is waited for in all: failing closed takes 250 ms at most (contract §6)."""
REDIS_ATTEMPT_SECONDS = 0.13
"""How long one attempt waits, so that a lost answer leaves time to connect anew and ask again."""
REDIS_GRACE_TURNS = 10
"""Turns of the event loop in which an answer may still be read when its time is over: enough for one that has come."""
REDIS_CONNECT_SECONDS = 3.0
"""How long connecting may take, and each exchange before a connection is used: long, as a server that is busy refusing
takes many turns to connect, and whoever asks does not wait for it. One that hangs goes on with it as it wakes."""
REDIS_RECONNECT_PAUSE_SECONDS = 0.1
"""Between two attempts to connect while Redis is down: it heals within about this time, and costs it ten a second."""
REDIS_TICK_SECONDS = 1.0
"""How often Redis is looked at while nothing is asked of it: how old what is known of its settings may be."""
REDIS_TIME_SECONDS = 0.1
"""How old what is known of Redis's clock may be while it is asked: what it is asked in the meantime is refused, and
nothing else, where its clock is set ahead."""
REDIS_BATCH_MAX = 512
"""Nonces in one script: Redis serves nobody else meanwhile, about 2 ms."""
REDIS_CLOCK_OFF_SECONDS_MAX = 600
"""How far an instance's wall clock may be off the one of Redis; past it its heartbeats get 503. Nonces are kept for as
much longer as an instance's clock is ahead, and after a Redis that forgot heartbeats wait for the farthest clock."""
REDIS_UNWRITTEN_MAX = 1_000_000
"""Nonces accepted alone that are still to be written back, 300 bytes each. Past it heartbeats get 503."""

SHARED_WAIT_SECONDS = 0.2
"""How long a batch of requests may wait in all for state that instances share: refusing takes 250 ms at most."""
SHARED_BATCH_MAX = 512
"""Requests decided together; so many take 50 ms at most, a twentieth of a lease."""
SHARED_ANSWER_SECONDS = 1.0
"""How long an instance waits for Redis to run a script of the journal: as long as a lease, which it may hold."""
SHARED_LEASE_SECONDS = 1.0
"""How long an instance may decide alone before its lease is lost; one that died in it is waited for so long."""
SHARED_LEASE_POLL_SECONDS = 0.002
"""Between two questions for a lease that another instance has: as long as a short one is held."""
SHARED_LEASE_PLACE_SECONDS = 0.1
"""How long an instance that does not ask for the lease any more keeps its place among those that wait for it."""
SHARED_TRIES_MAX = 3
"""Rounds in which what a revocation or a rotation came between is decided anew, each with a lease of its own."""
SHARED_TICK_SECONDS = 0.25
"""How often an instance that is asked nothing reads on, and sees that the journal is lost: a quarter of an election."""
SHARED_ELECTION_SECONDS = 1.0
"""How long a lost journal waits for the instance that knows most: four ticks of the slowest."""
SHARED_TERM_START_SECONDS = 10
"""How long the one that was elected may take to write its snapshot, before there is another election."""
SHARED_SETTINGS_SECONDS = 6.0
"""How long what instances must be set to stands in Redis after the last of them said it, three times over."""
SHARED_SETTINGS_AGAIN_SECONDS = 2.0
"""How often each of them says it again: who is set otherwise is refused within as long."""
SHARED_SETTINGS_POLL_SECONDS = 0.1
"""How often one that starts, and is set otherwise, looks whether anybody says it again."""
SHARED_GROUPS_AT_ONCE = 64
"""Groups of changes read in one answer: 5 MB at most, which take 10 ms to send."""
SHARED_REPEAT_SECONDS = 60
"""How long Redis remembers the last thing an instance appended; it may be asked to append it again within a second."""
SHARED_SNAPSHOT_BYTES_MAX = 256 * 1024 * 1024
"""A snapshot in Redis: 100,000 machines with their events. Writing it takes a second or two, and as much memory."""
SHARED_JOURNAL_BYTES_MAX = 512 * 1024 * 1024
"""Groups in Redis; past it nothing may be changed until a snapshot takes their place: Redis must not run full."""
SHARED_COMPACTION_SECONDS = 10
"""How long no other snapshot is begun after one was: no two instances write the same, nor one in vain all the time."""
SHARED_PART_SECONDS = 120
"""How long a part of a snapshot waits for the rest: a writer that died leaves nothing behind."""

HTTP2_STREAMS_MAX = 100
"""Requests at once on one HTTP/2 connection: what RFC 9113 §6.5.2 calls the least that is of use."""
HTTP2_FRAME_MAX_BYTES = 16_384
"""The payload of a frame, as every HTTP/2 connection begins with; a longer one is refused before it is read."""
HTTP2_HEADERS_MAX_BYTES = 4 * HEAD_MAX_BYTES
"""Headers of one request, coded or not, past which the connection ends; from 64 KiB to here they are answered 431."""
HTTP2_BODIES_MAX_BYTES = 4 * BODY_MAX_BYTES
"""Bodies that wait on one HTTP/2 connection: four of the longest, or forty heartbeats' metrics a stream."""
HTTP2_UNSENT_MAX_BYTES = BODY_MAX_BYTES
"""Answers that wait on one HTTP/2 connection; past it further requests wait to be decided until these are read."""
HTTP2_OUTPUT_MAX_BYTES = 64 * 1024
"""Frames made ready to be sent: one write's worth. Past it nothing more is read until they are out."""
HTTP2_RESETS_MAX = 100
HTTP2_ANSWERS_A_RESET = 10
"""Streams a client may reset on one connection: a hundred, and one more for ten answers. Rapid resets end there."""
HTTP2_IDLE_FRAMES_MAX = 1_000
HTTP2_IDLE_FRAMES_AN_ANSWER = 256
"""Frames that bring nothing (PING, SETTINGS, window updates, crumbs of bodies): a thousand, and 256 more an answer,
twice what a client needs to read the longest one."""
HTTP2_CRUMB_BYTES = 64
"""A piece of a body below this brings nothing: it costs as much as a piece of 16 KiB."""
HTTP2_ENCODER_TABLE_MAX_BYTES = 4_096
"""What a client may have us remember of our answers' headers: the default. It is searched through for each answer."""
HTTP2_CLOSED_STREAMS_MAX = 1_000
"""Streams whose end is remembered, to tell a late frame from a wrong one."""
HTTP2_FRAMES_AT_ONCE = 32
"""Frames of one connection before the others have their turn: about 5 ms of work."""

LOG_LINES_PER_SECOND = 5
"""Lines that one place in the code may log a second: whoever provokes it floods nothing, and drowns no other's line."""
LOG_LINE_MAX_CHARACTERS = 500
"""A line of the log; the rest of a longer one is cut."""
LOG_TRACE_MAX_CHARACTERS = 4_000
"""The traceback of a fault of ours, from its end, where the fault is."""

AMOUNT_UNITS_MAX = (1 << 63) - 1
"""An amount of money in its smallest unit: what a journal's integers hold, 92 billion bitcoins."""
JSON_NUMBER_MAX_CHARACTERS = 40
"""A JSON number that is read exactly: more than any amount, size or count needs, and cheap to compute with."""
JOB_PRICE_MAX_MICRO = 1_000_000 * 1_000_000
"""A job's maximum price, a million USDT (contract: Jobs)."""
JOB_CPU_CORES_MAX, JOB_MEMORY_GB_MAX, JOB_GPUS_MAX = 1_024, 65_536, 64
"""What one machine can have, and one job ask for (contract: Capacity, Jobs)."""
JOB_LEAST_MICRO = 100_000
"""The least cores and gigabytes a job asks for, a tenth (contract: Jobs). A machine with less left is not listed."""
JOB_MINUTES_MAX = 10_080
"""A week (contract: Jobs)."""
JOB_PAYLOAD_MAX_BYTES = 16 * 1024
JOB_RESULT_MAX_BYTES = 4 * 1024
"""A job's payload, and its result or error, as JSON is sent (contract: Jobs)."""
JOB_ATTEMPTS_MAX = 3
"""Workers that may give a job back before it has failed (contract: Jobs)."""
JOBS_UNFINISHED_AN_ACCOUNT_MAX = 1_000
JOBS_UNFINISHED_MAX = 100_000
JOBS_FINISHED_MAX = 100_000
"""Jobs that are kept (contract: Bounds); of the finished ones the oldest go."""
JOBS_A_WORKER_MAX = 256
"""Jobs one machine has at once: all that it has not reported yet stand in each answer to it, 4 MB with the longest
payloads."""
MARKET_LOOK_SECONDS = 0.5
"""How often it is looked whether anything is due on the market, and about payouts: what waits there has minutes."""
DUE_AT_ONCE = 128
"""Machines that open or fall silent, and jobs that end, dealt with at a time where thousands do at once: each takes up
to 100 us, and nobody else is answered meanwhile. The rest follows as soon as others were."""
PAYOUTS_AT_ONCE = 16
PAYOUT_ANSWER_SECONDS = 10.0
"""Payouts that the gateway is asked about at a time, and how long its answer may take; then it is asked again."""
OFFERS_MAX = 200_000
"""Machines that said what they have, 2 KB each; of further ones it is ignored."""
CANCELLED_TOLD_MAX = 1_000
"""Jobs taken from a machine that its next answer names; one that is not heard is told of the newest."""
DEADLINES_SPARE = 1_000
"""Ends of jobs that are looked at, past two for each unfinished job, before those of finished ones are thrown away."""
GPU_MODEL_MAX_CHARACTERS = 128
GPU_MODELS_MAX = 256
"""GPU models offered at once, each with a row in the price list; a capacity that would bring one more is void."""
MARKET_ACCOUNTS_MAX = 300_000
"""Accounts with money: 100,000 agents and 200,000 owners, 1 KB each."""
TRANSACTIONS_AN_ACCOUNT_MAX = 1_000
"""Entries an account is shown one by one; older ones are folded into its opening entries (contract: Bounds)."""
WITHDRAWALS_PENDING_MAX = 100_000
WITHDRAWALS_FINISHED_MAX = 100_000
"""Withdrawals that are kept, 600 bytes each; of the finished ones the oldest go."""
ADDRESSES_AN_ACCOUNT_MAX = 1_000
ADDRESSES_MAX = 200_000
"""Addresses whose cooldown was begun, 300 bytes each. Each refused first use adds one, so both have a bound."""
IDEMPOTENCY_KEYS_MAX = 100_000
"""Idempotency keys that are kept (contract: Bounds)."""
IDEMPOTENCY_BYTES_MAX = 256 * 1024 * 1024
"""The first answers that are kept with them: answers to jobs hold their payloads."""
IDEMPOTENCY_KEYS_AN_ACCOUNT_MAX = 10_000
IDEMPOTENCY_BYTES_AN_ACCOUNT_MAX = 32 * 1024 * 1024
"""Of both, what one account may have: else one that posts and cancels would leave the others no room for a day."""
IDEMPOTENCY_KEY_MAX_CHARACTERS = 128
"""Contract: Wallet."""
AGENTS_MAX = 100_000
AGENT_NAME_MAX_CHARACTERS, AGENT_DESCRIPTION_MAX_CHARACTERS, MOLTBOOK_ID_MAX_CHARACTERS = 64, 1_000, 128
"""Contract: Agents, Bounds."""
AGENT_NAME_SENT_MAX_CHARACTERS = 4 * AGENT_NAME_MAX_CHARACTERS
"""A name before NFKC, which makes one character of four at most. To put accents in order takes it quadratic time,
minutes for a body full of them, so length comes first."""
ADDRESS_MAX_CHARACTERS = 90
"""The longest address of all, bech32 (BIP 173); base58 takes quadratic time, so length comes first."""
POSTS_MAX, COMMENTS_A_POST_MAX = 100_000, 1_000
"""Contract: Bounds."""
FORUM_BYTES_MAX = 512 * 1024 * 1024
"""Texts of all posts and comments, in UTF-8: 25,000 of the longest posts, or all of usual ones."""
POST_TITLE_MAX_CHARACTERS, POST_BODY_MAX_CHARACTERS = 200, 20_000
POST_TAGS_MAX = 8
"""Contract: Forum."""
HUGE_PAGES_FROM_BYTES = 96 * 1024**2
"""Resident memory of a process worth huge pages: that of a few thousand machines. Of less nothing was gained."""
HUGE_PAGES_NEW_BYTES = 32 * 1024**2
HUGE_PAGES_GROWTH_SHARE = 0.25
"""What is to be new before memory is gathered into huge pages, at least, and as a share of all: each time, what is in
huge pages already is looked at as well."""
HUGE_PAGES_AT_ONCE = 1
"""Huge pages that are made in one step while others are served: whoever needs what is in one waits up to 6 ms."""
HUGE_PAGES_REST_SECONDS = 0.025
"""From one such step to the next, so that a fifth of a core is taken at most."""
HUGE_PAGES_LOOK_SECONDS = 5.0
"""From one look at how much is new to the next, which costs a microsecond."""
