-- Questions to ask of the output: cd where peers.jsonl is, then `duckdb -init duckdb.sql`, or paste what you need.
-- One view of all lines, in the open file and in closed ones, plain and .gz, and one view for each kind of line.
-- The pattern leaves out what was torn and what is half compressed; for .zst add 'peers.jsonl*.zst' to the list.
-- A line that is being written at this moment is left out, and what came twice after a crash is there once.

create or replace view lines as
select * from read_json(
    ['peers.json*[l0-9Zzd]'],
    format = 'newline_delimited',
    ignore_errors = true,
    columns = {
        type: 'VARCHAR', ts: 'TIMESTAMP', infohash: 'VARCHAR', source: 'VARCHAR', node: 'VARCHAR',
        peers: 'VARCHAR[]', named_by: 'VARCHAR[]', seeds: 'BIGINT', leechers: 'BIGINT',
        infohash_v2: 'VARCHAR', name: 'VARCHAR', size: 'UBIGINT', piece_length: 'UBIGINT',
        files: 'STRUCT(path VARCHAR, size UBIGINT)[]', files_truncated: 'BOOLEAN', private: 'BOOLEAN',
        peer: 'VARCHAR'
    }
);

create or replace view infohashes as
select distinct on (infohash) ts, infohash, source, node from lines where type = 'infohash' order by ts;

create or replace view swarms as
select infohash, max(ts) as ts, max(seeds) as seeds, max(leechers) as leechers,
    len(list_distinct(flatten(list(peers)))) as peers
from lines where type = 'peers' group by infohash;

create or replace view torrents as
select distinct on (infohash)
    ts, infohash, infohash_v2, name, size, len(files) as files_listed, files, files_truncated, private
from lines where type = 'metadata' order by ts;

-- Infohashes per hour, and by which way they came.
select date_trunc('hour', ts) as hour, source, count(*) as found from infohashes group by all order by all;

-- The largest swarms.
select infohash, seeds, leechers, peers from swarms order by seeds desc nulls last, peers desc limit 20;

-- What they are: metadata beside peers.
select coalesce(torrents.name, '(not fetched)') as name, torrents.size, swarms.seeds, swarms.peers
from swarms left join torrents using (infohash) order by swarms.seeds desc nulls last limit 20;

-- Search for a word in names and paths; set it first. Names are hostile text: they may look like anything.
set variable word = 'linux';
select infohash, name, size from torrents
where contains(lower(name), lower(getvariable('word')))
    or len(list_filter(files, lambda file: contains(lower(file.path), lower(getvariable('word'))))) > 0
order by size desc limit 20;

-- How much of what was found is known by now.
select count(*) as infohashes, count(swarms.infohash) as with_peers, count(torrents.infohash) as with_metadata
from infohashes left join swarms using (infohash) left join torrents using (infohash);

-- The nodes that told most.
select node, count(*) as told from infohashes group by node order by told desc limit 20;
