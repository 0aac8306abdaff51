import test from 'ava';
import { SimError } from '../../../src/shared/errors.ts';
import { Hub } from '../../../src/shared/hub.ts';

interface Facts {
  rang: { readonly times: number };
  other: string;
}

const rang = (times: number) => ({ times });

test('a fact reaches all listeners of its name, in the order in which they subscribed', (t) => {
  const hub = new Hub<Facts>();
  const told: string[] = [];
  hub.on('rang', ({ times }) => told.push(`a${times}`));
  hub.on('rang', ({ times }) => told.push(`b${times}`));
  hub.on('other', (text) => told.push(text));
  hub.announce('rang', rang(1));
  hub.announce('other', 'x');
  t.deepEqual(told, ['a1', 'b1', 'x']);
});

test('a fact without listeners is no error', (t) => {
  t.notThrows(() => new Hub<Facts>().announce('rang', rang(1)));
});

test('a listener hears nothing after it has stopped; stopping twice is no harm', (t) => {
  const hub = new Hub<Facts>();
  let count = 0;
  const stop = hub.on('rang', () => count++);
  hub.announce('rang', rang(1));
  stop();
  stop();
  hub.announce('rang', rang(2));
  t.is(count, 1);
  t.is(hub.listenerCount('rang'), 0);
});

test('the same function may listen several times, and each subscription ends by itself', (t) => {
  const hub = new Hub<Facts>();
  let count = 0;
  const listener = () => count++;
  const stop = hub.on('rang', listener);
  hub.on('rang', listener);
  hub.announce('rang', rang(1));
  t.is(count, 2);
  stop();
  hub.announce('rang', rang(2));
  t.is(count, 3);
});

test('once hears the next fact only, or none when stopped before', (t) => {
  const hub = new Hub<Facts>();
  const told: number[] = [];
  hub.once('rang', ({ times }) => {
    told.push(times);
    // Announced from inside: the subscription is over already.
    if (times === 1) hub.announce('rang', rang(2));
  });
  const stop = hub.once('rang', ({ times }) => told.push(-times));
  stop();
  hub.announce('rang', rang(1));
  t.deepEqual(told, [1]);
});

test('a listener that throws keeps the fact from nobody; the announcer gets the first error', (t) => {
  const hub = new Hub<Facts>();
  const told: string[] = [];
  const [first, second] = [new Error('first'), new Error('second')];
  hub.on('rang', () => {
    throw first;
  });
  hub.on('rang', () => told.push('b'));
  hub.on('rang', () => {
    throw second;
  });
  hub.on('rang', () => told.push('d'));
  const error = t.throws(() => hub.announce('rang', rang(1)), {
    instanceOf: SimError,
    code: 'SIM_TOOL_FAILED',
  });
  t.deepEqual(told, ['b', 'd']);
  t.is(error?.cause, first);
  t.is(error?.message, "2 listener(s) of 'rang' threw");
});

test('listeners may come and go while a fact is told: it goes to those who were there', (t) => {
  const hub = new Hub<Facts>();
  const told: string[] = [];
  const stops: (() => void)[] = [];
  hub.on('rang', () => {
    told.push('a');
    stops[0]!();
    hub.on('rang', () => told.push('late'));
  });
  stops.push(hub.on('rang', () => told.push('b')));
  hub.announce('rang', rang(1));
  t.deepEqual(told, ['a', 'b']);
  told.length = 0;
  hub.announce('rang', rang(2));
  t.deepEqual(told, ['a', 'late']);
});

test('clear forgets every listener', (t) => {
  const hub = new Hub<Facts>();
  hub.on('rang', () => t.fail());
  hub.on('other', () => t.fail());
  hub.clear();
  hub.announce('rang', rang(1));
  hub.announce('other', 'x');
  t.is(hub.listenerCount('rang') + hub.listenerCount('other'), 0);
});
