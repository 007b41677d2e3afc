"""The rules that entries, prompt paths and answers are judged by: data, with the words of each finding."""
