/** Thread entry of the corpus' workers. */
import { type Answer, errorAnswer } from '../campaign/answer.ts';
import { type CleanAnswer, carryOut, type FindAnswer, type Trial } from './trial.ts';

export default function corpusThread(trial: Trial): Answer<FindAnswer | CleanAnswer> {
  try {
    return { value: carryOut(trial) };
  } catch (error) {
    return errorAnswer(error);
  }
}
